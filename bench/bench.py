"""Measures vector indexes side by side: build time, size, memory, recall and queries per second, over one connection.

All methods run in one server and in turns, so that a slow minute of the machine hits them alike; every figure is the
median of several rounds. One JSON line for each result goes to the output file, and a table to the terminal.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import psycopg
from batch import Answer, ask_all, load_queries
from cluster import Cluster, ClusterError, bindir_of, temporary_cluster
from datasets import Dataset, DatasetError, Truth, clustered, exact_neighbours, fashion_mnist, glove
from memory import Memory, PeakMemory, memory_of
from method import Method, MethodError, read_method
from pagecache import CacheError, can_drop_caches, make_cold
from provenance import command, fingerprint, is_older_than_sources, library_path, machine, memory_bytes, revision
from vectors import copy_vectors, vector_text

HERE = Path(__file__).resolve().parent
PG_CONFIG = os.environ.get("PG_CONFIG", "pg_config")
WARM_UP = 20
COLD_QUERIES = 100
# A shorter batch is asked once before it is timed: on first use a GPU's kernels are compiled and memory is touched.
BATCH_WARM_UP_S = 5.0
# A machine that slows down for a second slows all methods down.
QUERIES_A_TURN = 50


class BenchError(Exception):
    """The measurement cannot go on; the message is for the user."""


@dataclass(frozen=True)
class Server:
    """The server to measure in. `cluster` is None when it is somebody else's: it cannot be restarted or watched."""

    dsn: str
    cluster: Cluster | None = None


def main() -> int:
    """Parses the command line and runs the measurement; returns the exit status."""
    options = parse_arguments()
    try:
        data = load_dataset(options)
        values = {"dims": data.base.shape[1], "lists": options.lists or default_lists(len(data.base))}
        values["threads"] = os.cpu_count() or 1
        methods = [read_method(method_path(name), options.metric, values) for name in options.methods]
        if len({method.label for method in methods}) < len(methods):
            raise MethodError("two methods have the same label")
        methods = with_sweeps(methods, options.sweep)
        if options.cold and options.dsn:
            raise BenchError("--cold restarts the server, so it needs the private one: leave out --dsn")
        options.out.parent.mkdir(parents=True, exist_ok=True)
        with options.out.open("w") as file, start_server(options, methods) as server:
            Bench(options, data, methods, server, file).run()
        print(f"\nresults in {options.out}")
        return 0
    except (BenchError, CacheError, ClusterError, DatasetError, MethodError, psycopg.Error) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def parse_arguments() -> argparse.Namespace:
    """Describes the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("methods", nargs="*", default=["vectorgpu"], help="names in bench/methods, or TOML files")
    parser.add_argument("--dsn", help="a running server; without it, a private one is started and removed")
    parser.add_argument("--target", type=Path, default=HERE.parent / "target", help="folder for server and cache")
    parser.add_argument("--data", default="fashion-mnist", choices=["fashion-mnist", "glove", "clustered"])
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the clustered set")
    parser.add_argument("--dims", type=int, default=256, help="dimensions of the clustered set")
    parser.add_argument("--metric", default="l2", choices=["l2", "ip", "cosine"])
    parser.add_argument("--lists", type=int, help="lists of an inverted-file index (default: about sqrt(rows))")
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("-k", type=int, default=10, help="neighbours asked for")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions, of which the median counts")
    parser.add_argument("--query-rounds", type=int, metavar="ROUNDS", help="other repetitions of the queries")
    parser.add_argument("--workers", type=int, default=2, help="max_parallel_maintenance_workers")
    parser.add_argument("--memory", default="1GB", help="maintenance_work_mem")
    parser.add_argument("--sweep", action="append", default=[], metavar="LABEL=1,2", help="a method's other settings")
    parser.add_argument("--stop-recall", type=float, default=0.999, help="recall at which a sweep ends")
    parser.add_argument("--batch", type=int, default=0, metavar="N", help="also ask so many queries in one statement")
    parser.add_argument("--batch-recall", type=float, default=0.95, help="recall from which on settings are asked so")
    parser.add_argument("--cold", type=int, default=0, metavar="ROUNDS", help="also measure cold starts, so many times")
    parser.add_argument("--cold-recall", type=float, default=0.95, help="recall that a cold start's setting must reach")
    drops = ["auto", "drop_caches", "fadvise"]
    parser.add_argument("--drop", default="auto", choices=drops, help="how files leave the page cache (see README.md)")
    parser.add_argument("--out", type=Path, default=HERE.parent / "target/bench/results.jsonl")
    return parser.parse_args()


def load_dataset(options: argparse.Namespace) -> Dataset:
    """Makes or reads the data set."""
    queries = max(options.queries, options.batch)
    if options.data == "fashion-mnist":
        return fashion_mnist(queries)
    if options.data == "glove":
        return glove(options.target / "datasets", queries)
    return clustered(options.rows, options.dims, queries)


def default_lists(rows: int) -> int:
    """The rule of thumb for inverted files below a million rows."""
    return max(1, round(rows**0.5))


def method_path(name: str) -> Path:
    """A method's file, from its name or its path."""
    return Path(name) if name.endswith(".toml") else HERE / "methods" / f"{name}.toml"


def with_sweeps(methods: list[Method], overrides: list[str]) -> list[Method]:
    """Gives methods other settings: each override is LABEL=1,2."""
    sweeps = {}
    for override in overrides:
        label, _, values = override.partition("=")
        try:
            sweeps[label] = [int(value) for value in values.split(",")]
        except ValueError:
            raise BenchError(f"--sweep {override}: expected LABEL=1,2") from None
    unknown = sweeps.keys() - {method.label for method in methods}
    if unknown:
        raise BenchError(f"--sweep: no method has the label {', '.join(sorted(unknown))}")
    return [replace(method, sweep=sweeps.get(method.label, method.sweep)) for method in methods]


@contextlib.contextmanager
def start_server(options: argparse.Namespace, methods: list[Method]) -> Iterator[Server]:
    """The server to measure in."""
    if options.dsn:
        yield Server(options.dsn)
        return
    settings = {
        "shared_buffers": f"{min(8 << 30, memory_bytes() // 4) >> 20}MB",
        "max_wal_size": "16GB",
        "checkpoint_timeout": "1h",
        "shared_preload_libraries": ",".join(sorted({method.preload for method in methods} - {""})),
    }
    with temporary_cluster(options.target / "bench-cluster", bindir_of(PG_CONFIG), settings) as cluster:
        yield Server(cluster.dsn(), cluster)


def gpu_of(connection: psycopg.Connection) -> str | None:
    """The name of the GPU that vectorgpu would take; None where there is none, or only software Vulkan."""
    found = connection.execute("SELECT name FROM vectorgpu.devices() WHERE selected AND NOT software AND kind <> 'cpu'")
    row = found.fetchone()
    return row[0] if row else None


class PreparedSearch:
    """A prepared query of a connection, asked through libpq alone: the layers above cost as much as a short query."""

    numbers = itertools.count()

    def __init__(self, connection: psycopg.Connection, sql: str):
        """Prepares `sql`, whose only parameter is written %s."""
        self.connection, self.name = connection.pgconn, f"bench_{next(self.numbers)}".encode()
        check(self.connection.prepare(self.name, sql.replace("%s", "$1").encode()))

    def __call__(self, text: bytes) -> psycopg.pq.abc.PGresult:
        """Asks with one query vector."""
        return check(self.connection.exec_prepared(self.name, [text]))


def check(result: psycopg.pq.abc.PGresult) -> psycopg.pq.abc.PGresult:
    """The result, unless the server refused."""
    if result.status not in (psycopg.pq.ExecStatus.COMMAND_OK, psycopg.pq.ExecStatus.TUPLES_OK):
        raise BenchError(result.get_error_message())
    return result


def identifiers(result: psycopg.pq.abc.PGresult) -> list[int]:
    """The ids of an answer."""
    return [int(result.get_value(row, 0)) for row in range(result.ntuples)]


@dataclass
class Turn:
    """A method's queries at one setting, so far. Answers are compared when all are in: a server that waits meanwhile is
    slow to wake, and finds its caches used by others."""

    label: str
    setting: int
    search: PreparedSearch
    latencies: list[float] = field(default_factory=list)
    answers: list[psycopg.pq.abc.PGresult] = field(default_factory=list)

    def ask(self, texts: list[str]) -> None:
        """Runs some queries; keeps their latencies in milliseconds, and their answers."""
        for text in [text.encode() for text in texts]:
            started = time.perf_counter()
            answer = self.search(text)
            self.latencies.append(1000 * (time.perf_counter() - started))
            self.answers.append(answer)


class Bench:
    """One run: the data, the methods, and where results go."""

    def __init__(self, options: argparse.Namespace, data: Dataset, methods: list[Method], server: Server, file):
        """Finds the exact answers; touches no server yet."""
        self.options, self.data, self.methods, self.server, self.file = options, data, methods, server, file
        print(f"{data.name}: {len(data.base):,} rows, {data.base.shape[1]} dimensions, metric {options.metric}")
        queries = data.queries[: options.queries]
        self.truth: Truth = exact_neighbours(data.base, queries, options.metric, options.k)
        self.texts = [vector_text(query) for query in queries]

    def run(self) -> None:
        """Loads, builds and searches."""
        self.write("machine", **machine(self.server.dsn), command=command(sys.argv[1:]), **revision())
        for method in self.methods:
            self.load(method)
        self.build_all()
        recalls = self.search_all()
        if self.options.batch:
            self.ask_all_at_once(recalls)
        if self.options.cold:
            self.start_all_cold(recalls)

    def write(self, what: str, **values) -> None:
        """Appends one result line."""
        common = {"what": what, "data": self.data.name, "metric": self.options.metric}
        self.file.write(json.dumps(common | values) + "\n")
        self.file.flush()

    def connect(self, method: Method) -> psycopg.Connection:
        """Opens a connection to a method's database, with its session settings."""
        connection = psycopg.connect(self.server.dsn, dbname=method.database, autocommit=True)
        connection.execute("SELECT set_config('maintenance_work_mem', %s, false)", (self.options.memory,))
        connection.execute(f"SET max_parallel_maintenance_workers = {self.options.workers}")
        connection.execute("SET jit = off")
        for statement in method.session:
            connection.execute(statement)
        return connection

    def load(self, method: Method) -> None:
        """Makes a method's database and fills its table."""
        with psycopg.connect(self.server.dsn, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {method.database} WITH (FORCE)")
            connection.execute(f"CREATE DATABASE {method.database}")
        # Settings of an extension are unknown before the extension is there.
        with psycopg.connect(self.server.dsn, dbname=method.database, autocommit=True) as connection:
            for extension in [*method.extensions, "pg_prewarm"]:
                connection.execute(f"CREATE EXTENSION IF NOT EXISTS {extension}")
            connection.execute(f"CREATE TABLE items (id int, embedding {method.column_type()})")
            started = time.perf_counter()
            copy_vectors(connection, "items", self.data.base)
            seconds = time.perf_counter() - started
            connection.execute("VACUUM ANALYZE items")
            if self.options.batch:
                load_queries(connection, method, self.data.queries[: self.options.batch])
            connection.execute("CHECKPOINT")
            (size,) = connection.execute("SELECT pg_table_size('items')").fetchone()
            versions = dict(connection.execute("SELECT extname, extversion FROM pg_extension").fetchall())
            gpu = {"gpu": gpu_of(connection)} if "vectorgpu" in versions else {}
        rows, dims = self.data.base.shape
        self.write("load", label=method.label, rows=rows, dims=dims, s=round(seconds, 2), table_bytes=size)
        extensions = {name: versions[name] for name in method.extensions}
        self.write("version", label=method.label, extensions=extensions, **gpu, **self.libraries(method))

    def libraries(self, method: Method) -> dict:
        """Which builds of a method's extensions are measured; nothing is known about somebody else's server."""
        if self.server.cluster is None:
            return {}
        paths = {name: library_path(name, PG_CONFIG) for name in method.extensions}
        known = {"libraries": {name: fingerprint(path) for name, path in paths.items()}}
        if "vectorgpu" in paths and is_older_than_sources(paths["vectorgpu"]):
            print("warning: the installed vectorgpu is older than the last commit to its sources", file=sys.stderr)
            known["older_than_sources"] = True
        return known

    def build_all(self) -> None:
        """Builds every index once a round, in turns; the last ones stay."""
        results: dict[str, list[dict]] = {method.label: [] for method in self.methods if method.index}
        for _ in range(self.options.rounds):
            for method in self.methods:
                if method.index:
                    results[method.label].append(self.build(method))
        for method in self.methods:
            if method.index:
                with self.connect(method) as connection:
                    (size,) = connection.execute("SELECT pg_relation_size('items_index')").fetchone()
                self.write_build(method, results[method.label], size)

    def write_build(self, method: Method, rounds: list[dict], size: int) -> None:
        """Writes the median time of a method's builds, and the most memory that one of them took."""
        taken = [round(each["s"], 3) for each in rounds]
        median = round(statistics.median(taken), 3)
        line = {"s": median, "rounds": taken, "index_bytes": size, "ddl": method.create_index()}
        shown = f"{method.label:<24} build {median:8.2f} s, index {size / 2**20:8.1f} MiB"
        if peaks := [each["peak"] for each in rounds if each["peak"]]:
            peak = max(peaks, key=lambda memory: memory.total_bytes)
            line |= {"private_bytes": peak.private_bytes, "shared_bytes": peak.shared_bytes}
            shown += f", memory {peak.total_bytes / 2**20:8.1f} MiB"
        line["notices"] = sorted({notice for each in rounds for notice in each["notices"]})
        self.write("build", label=method.label, **line)
        print("; ".join([shown, *line["notices"]]))

    def build(self, method: Method) -> dict:
        """Builds an index anew; returns seconds, peak memory (None if unknown), and what the server remarked."""
        notices: list[str] = []
        with self.connect(method) as connection:
            connection.execute("DROP INDEX IF EXISTS items_index")
            connection.execute("SELECT pg_prewarm('items')")
            connection.execute("CHECKPOINT")
            connection.add_notice_handler(lambda notice: keep_remark(notice, notices))
            with self.watch(connection) as watched:
                started = time.perf_counter()
                connection.execute(method.create_index())
                seconds = time.perf_counter() - started
        return {"s": seconds, "peak": watched and watched.peak, "notices": notices}

    def watch(self, connection: psycopg.Connection) -> contextlib.AbstractContextManager[PeakMemory | None]:
        """Samples the memory of a connection's backend, where it is a process of this machine."""
        return PeakMemory(connection.info.backend_pid) if self.server.cluster else contextlib.nullcontext()

    def memory(self, connection: psycopg.Connection) -> Memory | None:
        """The memory of a connection's backend now, where it is a process of this machine."""
        return memory_of(connection.info.backend_pid) if self.server.cluster else None

    def search_all(self) -> dict[str, dict[int, float]]:
        """Runs all queries at every setting of every method, in turns; writes the medians, returns the recalls."""
        results: dict[str, dict[int, list[dict]]] = {method.label: {} for method in self.methods}
        private: dict[str, list[tuple[int, int]]] = {method.label: [] for method in self.methods}
        for _ in range(self.options.query_rounds or self.options.rounds):
            self.search_round(results, private)
        for label, settings in results.items():
            if private[label]:
                before, after = max(private[label], key=lambda pair: pair[1])
                self.write("session", label=label, private_bytes_before=before, private_bytes=after)
            for setting, rounds in settings.items():
                self.write_query(label, setting, rounds)
        return {label: {at: rounds[0]["recall"] for at, rounds in found.items()} for label, found in results.items()}

    def search_round(
        self, results: dict[str, dict[int, list[dict]]], private: dict[str, list[tuple[int, int]]]
    ) -> None:
        """One round: the methods' first settings, some queries each in turns, then their second ones, and so on.

        Adds to `results` and, of the sessions' memory, to `private`.
        """
        with contextlib.ExitStack() as stack:
            sessions = [(method, stack.enter_context(self.connect(method))) for method in self.methods]
            for method, connection in sessions:
                self.prewarm(connection, method)
            before = {method.label: self.memory(connection) for method, connection in sessions}
            done: set[str] = set()
            for at in range(max(len(method.sweep) for method in self.methods)):
                turns = [
                    self.take_turn(connection, method, method.sweep[at])
                    for method, connection in sessions
                    if at < len(method.sweep) and method.label not in done
                ]
                for first in range(0, len(self.texts), QUERIES_A_TURN):
                    for turn in turns:
                        turn.ask(self.texts[first : first + QUERIES_A_TURN])
                for turn in turns:
                    result = self.summary(turn)
                    results[turn.label].setdefault(turn.setting, []).append(result)
                    if result["recall"] >= self.options.stop_recall:
                        done.add(turn.label)
            for method, connection in sessions:
                if was := before[method.label]:
                    private[method.label].append((was.private_bytes, self.memory(connection).private_bytes))

    def write_query(self, label: str, setting: int, rounds: list[dict]) -> None:
        """Writes the medians of one setting."""
        medians = {name: round(statistics.median(r[name] for r in rounds), 4) for name in rounds[0]}
        spread = [r["qps"] for r in rounds]
        self.write("query", label=label, set=setting, k=self.options.k, **medians, qps_rounds=spread)
        print(
            f"{label:<24} {setting:>5}  recall {medians['recall']:.4f}  {medians['qps']:>9.1f} queries/s  "
            f"p50 {medians['p50_ms']:.3f} ms  p99 {medians['p99_ms']:.3f} ms"
        )

    def prewarm(self, connection: psycopg.Connection, method: Method) -> None:
        """Brings table and index into shared buffers."""
        for relation in ["items", "items_index"] if method.index else ["items"]:
            connection.execute("SELECT pg_prewarm(%s::regclass)", (relation,))
        if method.warm:
            connection.execute(method.warm)

    def take_turn(self, connection: psycopg.Connection, method: Method, setting: int) -> Turn:
        """Makes a method ready for the queries of one setting, and warms it up."""
        if method.set:
            connection.execute(method.set.format(setting))
        self.require_index(connection, method, setting)
        turn = Turn(method.label, setting, PreparedSearch(connection, method.search(self.options.k)))
        turn.ask(self.texts[:WARM_UP])
        return Turn(method.label, setting, turn.search)

    def summary(self, turn: Turn) -> dict[str, float]:
        """Recall, queries/s and latencies of a turn."""
        p50, p99 = np.percentile(turn.latencies, [50, 99])
        return {
            "recall": self.recall(turn),
            "qps": round(1000 * len(turn.latencies) / sum(turn.latencies), 1),
            "p50_ms": round(float(p50), 3),
            "p99_ms": round(float(p99), 3),
        }

    def recall(self, turn: Turn) -> float:
        """The share of the exact answers among those of the first queries."""
        found = [identifiers(answer) for answer in turn.answers]
        hits = sum(self.truth.hits(i, ids, self.options.k) for i, ids in enumerate(found))
        return round(hits / (self.options.k * len(found)), 4)

    def require_index(self, connection: psycopg.Connection, method: Method, setting: int) -> None:
        """Stops the run where the planner does not use the method's index."""
        lines = connection.execute("EXPLAIN " + method.search(self.options.k), (self.texts[0],)).fetchall()
        plan = "\n".join(line for (line,) in lines)
        if method.index and "items_index" not in plan:
            raise BenchError(f"{method.label} at {setting}: the planner does not use the index:\n{plan}")

    def ask_all_at_once(self, recalls: dict[str, dict[int, float]]) -> None:
        """Asks all queries in one statement, in turns, at the settings with recall enough; writes the medians."""
        methods = [method for method in self.methods if method.batch]
        with contextlib.ExitStack() as stack:
            sessions = [(method, stack.enter_context(self.connect(method))) for method in methods]
            results: dict[tuple[str, int], list[Answer]] = {}
            for method, connection in sessions:
                self.prewarm(connection, method)
            for _ in range(self.options.query_rounds or self.options.rounds):
                for method, connection in sessions:
                    for setting, recall in recalls[method.label].items():
                        if recall >= self.options.batch_recall:
                            connection.execute(method.set.format(setting))
                            sql, known = method.search_batch(self.options.k), len(self.truth.ids)
                            answer = ask_all(connection, sql, known)
                            if (method.label, setting) not in results and answer.seconds < BATCH_WARM_UP_S:
                                answer = ask_all(connection, sql, known)
                            results.setdefault((method.label, setting), []).append(answer)
        for (label, setting), answers in results.items():
            self.write_batch(label, setting, answers)

    def write_batch(self, label: str, setting: int, answers: list[Answer]) -> None:
        """Writes the median time of a setting."""
        rounds = [round(answer.seconds, 4) for answer in answers]
        seconds, queries = statistics.median(rounds), answers[0].queries
        recall = answers[0].recall(self.truth, self.options.k)
        line = {"set": setting, "k": self.options.k, "queries": queries, "recall": recall, "s": seconds}
        self.write("batch", label=label, **line, qps=round(queries / seconds, 1), s_rounds=rounds)
        print(
            f"{label:<24} {setting:>5}  recall {recall:.4f}  at once: {queries:,} queries in {seconds:.3f} s, "
            f"{queries / seconds:,.1f} a second"
        )

    def start_all_cold(self, recalls: dict[str, dict[int, float]]) -> None:
        """Measures the first queries after a restart with an empty page cache, in turns, and writes the medians."""
        how = self.options.drop
        if how == "auto":
            how = "drop_caches" if can_drop_caches() else "fadvise"
        settings = {label: first_setting(found, self.options.cold_recall) for label, found in recalls.items()}
        # A shutdown writes what is dirty, and pg_ctl does not wait for gigabytes.
        with psycopg.connect(self.server.dsn, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
        results: dict[str, list[dict]] = {method.label: [] for method in self.methods}
        for _ in range(self.options.cold):
            for method in self.methods:
                results[method.label].append(self.start_cold(method, settings[method.label], how))
        for label, rounds in results.items():
            medians = {name: round(statistics.median(r[name] for r in rounds), 4) for name in rounds[0]}
            line = {"set": settings[label], "queries": min(COLD_QUERIES, len(self.texts)), "dropped": how}
            self.write("cold", label=label, **line, **medians, s_rounds=[r["s"] for r in rounds])
            print(
                f"{label:<24} {settings[label]:>5}  recall {medians['recall']:.4f}  cold: {line['queries']} queries in "
                f"{medians['s']:.3f} s, the first in {medians['first_ms']:.1f} ms"
            )

    def start_cold(self, method: Method, setting: int, how: str) -> dict[str, float]:
        """Restarts the server on files that are not in the page cache, and times a method's first queries."""
        cluster = self.server.cluster
        cluster.stop()
        left = make_cold(cluster.data, how)
        cluster.start()
        started = time.perf_counter()
        with self.connect(method) as connection:
            if method.set:
                connection.execute(method.set.format(setting))
            connect_ms = 1000 * (time.perf_counter() - started)
            turn = Turn(method.label, setting, PreparedSearch(connection, method.search(self.options.k)))
            turn.ask(self.texts[:COLD_QUERIES])
            # Only now: planning reads what the first query has to find cold.
            self.require_index(connection, method, setting)
        return {
            "recall": self.recall(turn),
            "s": round(sum(turn.latencies) / 1000, 4),
            "first_ms": round(turn.latencies[0], 2),
            "connect_ms": round(connect_ms, 2),
            "cached_bytes": left,
        }


def keep_remark(notice: psycopg.errors.Diagnostic, notices: list[str]) -> None:
    """Keeps what is worth knowing about a build: pgvector says this way that its graph outgrew maintenance_work_mem.

    Progress, which VectorChord reports at level INFO, is not.
    """
    if notice.severity_nonlocalized in ("NOTICE", "WARNING"):
        notices.append(notice.message_primary)


def first_setting(recalls: dict[int, float], wanted: float) -> int:
    """The smallest setting whose recall is `wanted` or more, or the one with the best recall if none is."""
    enough = [setting for setting in sorted(recalls) if recalls[setting] >= wanted]
    return enough[0] if enough else max(recalls, key=lambda setting: recalls[setting])


if __name__ == "__main__":
    sys.exit(main())
