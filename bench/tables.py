"""Markdown of runs: what they were measured on, and every figure, those included that do not flatter.

Must not know files or drawing, except for the names it links to.
"""

from __future__ import annotations

from results import YARDSTICK, Run, ratio

RECALLS = (0.95, 0.99)
MIB = 1 << 20
MISSING = "–"


def document(runs: list[Run]) -> str:
    """The whole report."""
    parts = [
        "# Results",
        "Written by `scripts/bench.sh report` from the `.jsonl` files beside it; do not edit. "
        "[../README.md](../README.md) says what is measured and how. Each data set is one run on one machine, in which "
        "all methods took turns: compare within a run. One connection, one query at a time.",
        *summary(runs),
    ]
    for run in runs:
        parts += section(run)
    return "\n\n".join(parts) + "\n"


def summary(runs: list[Run]) -> list[str]:
    """All runs side by side."""
    names = [f"{run.rows:,} rows, {run.name}" for run in runs]
    labels = list(dict.fromkeys(label for run in runs for label in run.labels))
    parts = ["## Growth", "![Growth over rows](growth.svg)"]
    for recall in RECALLS:
        rows = [[label, *(speed(run, label, recall) for run in runs)] for label in labels]
        parts += [
            f"Queries/s of the fastest setting with recall ≥ {recall}, and how many times {YARDSTICK}'s that is:",
            table(["method", *names], rows),
        ]
    rows = [[label, *(build(run, label) for run in runs)] for label in labels if any(label in r.builds for r in runs)]
    parts += ["`CREATE INDEX`; size of the index; peak memory of the build:", table(["method", *names], rows)]
    if any(run.colds for run in runs):
        rows = [[label, *(cold(run, label) for run in runs)] for label in labels]
        parts += [
            "First queries after a restart with an empty page cache, in seconds, and how many times "
            f"{YARDSTICK}'s that is:",
            table(["method", *names], rows),
        ]
    return parts


def section(run: Run) -> list[str]:
    """One run."""
    machine = run.machine
    parts = [
        f"## {run.name}: {run.rows:,} rows",
        f"{machine['data']}, {run.dims} dimensions, metric {machine['metric']}, the {run.k} nearest.",
        conditions(run),
        f"```sh\n{machine['command']}\n```",
        f"![Recall against queries per second]({run.name}.svg)",
        "### Build, size and memory",
        build_table(run),
        *remarks(run),
        "### Fastest setting with enough recall",
        best_table(run),
    ]
    if run.colds:
        parts += ["### Cold start", cold_table(run)]
    if run.batches:
        parts += ["### Many queries in one statement", batch_table(run)]
    return [*parts, "### Every setting", query_table(run), "### Indexes", definitions(run)]


def conditions(run: Run) -> str:
    """The machine, the server and the versions, as a list."""
    machine = run.machine
    revision = machine.get("revision", "unknown")
    if machine.get("sources_changed"):
        revision += ", with uncommitted changes"
    if any(version.get("older_than_sources") for version in run.versions.values()):
        revision += "; the library was built before the last commit to its sources"
    # Runs of earlier revisions do not say.
    gpus = {version["gpu"] for version in run.versions.values() if "gpu" in version}
    gpu = "".join(f", {name or 'no GPU'}" for name in gpus)
    lines = [
        f"- {machine['time']}: {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_bytes'] / (1 << 30):.1f} GiB of memory{gpu}, Linux {machine['kernel']}",
        f"- PostgreSQL {machine['server_version']}, shared_buffers {machine['shared_buffers']}, "
        f"max_wal_size {machine['max_wal_size']}, fsync {machine['fsync']}",
        f"- {'; '.join(extensions(run))}",
        f"- vectorgpu's revision: {revision}",
        f"- results: [{run.name}.jsonl]({run.name}.jsonl)",
    ]
    return "\n".join(lines)


def extensions(run: Run) -> list[str]:
    """The versions of all extensions, with the first digits of their libraries' SHA-256."""
    found = {}
    for version in run.versions.values():
        for name, number in version["extensions"].items():
            digest = version.get("libraries", {}).get(name)
            found[name] = f"{name} {number}" + (f" (library {digest})" if digest else "")
    return list(found.values())


def build_table(run: Run) -> str:
    """Time, size and memory of every index."""
    base = run.builds.get(YARDSTICK, {}).get("s")
    rows = []
    for label in run.labels:
        line, session = run.builds.get(label, {}), run.sessions.get(label, {})
        rows.append(
            [
                label,
                number(line.get("s"), 2),
                ", ".join(f"{seconds:.2f}" for seconds in line.get("rounds", [])) or MISSING,
                times(ratio(line.get("s"), base)),
                mebibytes(line.get("index_bytes")),
                mebibytes(run.loads[label]["table_bytes"]),
                mebibytes(line.get("private_bytes")),
                mebibytes(line.get("shared_bytes")),
                mebibytes(session.get("private_bytes_before")),
                mebibytes(session.get("private_bytes")),
            ]
        )
    head = ["method", "build, s", "rounds", f"× {YARDSTICK}", "index, MiB", "table, MiB", "build: private, MiB"]
    return table([*head, "build: shared, MiB", "session before, MiB", "session after, MiB"], rows)


def remarks(run: Run) -> list[str]:
    """What the server remarked while it built."""
    return [f"{label}: {'; '.join(line['notices'])}." for label, line in run.builds.items() if line.get("notices")]


def best_table(run: Run) -> str:
    """The fastest setting of every method for each recall."""
    rows = []
    for recall in RECALLS:
        base = run.best_qps(YARDSTICK, recall)
        for label in run.labels:
            line = run.best(label, recall) or {}
            qps = line.get("qps")
            found, fraction = number(line.get("recall"), 4), times(ratio(qps, base))
            rows.append([f"≥ {recall}", label, str(line.get("set", MISSING)), found, number(qps, 0), fraction])
    return table(["recall", "method", "setting", "its recall", "queries/s", f"× {YARDSTICK}"], rows)


def cold_table(run: Run) -> str:
    """The first queries of every method after a restart."""
    base = run.colds.get(YARDSTICK, {}).get("s")
    rows = []
    for label, line in run.colds.items():
        rows.append(
            [
                label,
                str(line["set"]),
                number(line["recall"], 4),
                str(line["queries"]),
                number(line["s"], 3),
                times(ratio(line["s"], base)),
                number(line["first_ms"], 1),
                number(line["connect_ms"], 1),
                line["dropped"],
                mebibytes(line["cached_bytes"]),
                ", ".join(f"{seconds:.3f}" for seconds in line["s_rounds"]),
            ]
        )
    head = ["method", "setting", "recall", "queries", "all of them, s", f"× {YARDSTICK}", "the first, ms"]
    return table([*head, "connecting, ms", "dropped by", "left cached, MiB", "rounds, s"], rows)


def batch_table(run: Run) -> str:
    """All queries at once, at every setting."""
    rows = []
    for label, lines in run.batches.items():
        for line in lines:
            figures = [f"{line['queries']:,}", number(line["s"], 3), number(line["qps"], 0)]
            taken = ", ".join(f"{seconds:.3f}" for seconds in line["s_rounds"])
            rows.append([label, str(line["set"]), number(line["recall"], 4), *figures, taken])
    return table(["method", "setting", "recall", "queries", "s", "queries/s", "rounds, s"], rows)


def query_table(run: Run) -> str:
    """Every setting of every method."""
    rows = []
    for label in run.labels:
        for line in run.queries[label]:
            latencies = [number(line["p50_ms"], 3), number(line["p99_ms"], 3)]
            rows.append([label, str(line["set"]), number(line["recall"], 4), number(line["qps"], 0), *latencies])
    return table(["method", "setting", "recall", "queries/s", "p50, ms", "p99, ms"], rows)


def definitions(run: Run) -> str:
    """The statements that built the indexes."""
    return "```sql\n" + "\n".join(f"-- {label}\n{line['ddl']};" for label, line in run.builds.items()) + "\n```"


def speed(run: Run, label: str, recall: float) -> str:
    """One cell: queries per second, and compared."""
    qps = run.best_qps(label, recall)
    return compared(number(qps, 0), ratio(qps, run.best_qps(YARDSTICK, recall)), label)


def build(run: Run, label: str) -> str:
    """One cell: seconds, size and memory."""
    line = run.builds.get(label)
    if line is None:
        return MISSING
    memory = run.build_bytes(label)
    return f"{line['s']:.2f} s; {line['index_bytes'] / MIB:,.0f} MiB; " + (
        f"{memory / MIB:,.0f} MiB" if memory is not None else MISSING
    )


def cold(run: Run, label: str) -> str:
    """One cell: seconds of the first queries, and compared."""
    seconds = run.colds.get(label, {}).get("s")
    return compared(number(seconds, 3), ratio(seconds, run.colds.get(YARDSTICK, {}).get("s")), label)


def compared(text: str, fraction: float | None, label: str) -> str:
    """A figure with its ratio to the yardstick's, which itself needs none."""
    return text if fraction is None or label == YARDSTICK else f"{text} ({times(fraction)})"


def number(value: float | None, digits: int) -> str:
    """A figure, or a dash."""
    return MISSING if value is None else f"{value:,.{digits}f}"


def times(value: float | None) -> str:
    """A ratio, or a dash."""
    return MISSING if value is None else f"{value:.2f}×"


def mebibytes(value: int | None) -> str:
    """Bytes in MiB, or a dash."""
    return MISSING if value is None else f"{value / MIB:,.1f}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; all columns but the texts of the first are figures."""
    marks = ["---", *["--:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, marks, *rows])
