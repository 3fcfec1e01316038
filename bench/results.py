"""Result files of bench.py, read into runs, and what is chosen from them.

Must not know how results are shown. A file holds one run: one data set, measured with one command.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

# Whom the others are compared with.
YARDSTICK = "vectorgpu"


class ResultError(Exception):
    """A result file cannot be used; the message names it."""


@dataclass
class Run:
    """The lines of one file by kind; `builds`, `sessions`, `colds`, `loads` and `versions` by label, in the order of
    the command line; `queries` and `batches` by label, in the order of the sweep."""

    name: str
    path: Path
    machine: dict
    loads: dict[str, dict] = field(default_factory=dict)
    versions: dict[str, dict] = field(default_factory=dict)
    builds: dict[str, dict] = field(default_factory=dict)
    sessions: dict[str, dict] = field(default_factory=dict)
    colds: dict[str, dict] = field(default_factory=dict)
    queries: dict[str, list[dict]] = field(default_factory=dict)
    batches: dict[str, list[dict]] = field(default_factory=dict)

    @property
    def labels(self) -> list[str]:
        """The methods."""
        return list(self.loads)

    @property
    def rows(self) -> int:
        """Rows of the data set."""
        return next(iter(self.loads.values()))["rows"]

    @property
    def dims(self) -> int:
        """Dimensions of the data set."""
        return next(iter(self.loads.values()))["dims"]

    @property
    def k(self) -> int:
        """Neighbours asked for."""
        return next(iter(self.queries.values()))[0]["k"]

    @property
    def family(self) -> str:
        """What runs share that differ in nothing but the number of rows."""
        return f"{re.sub(r'-[0-9]+x[0-9]+$', '', self.machine['data'])}, {self.dims} dims, {self.machine['metric']}"

    def best(self, label: str, recall: float) -> dict | None:
        """The fastest setting of a method with at least `recall`; None if it has none."""
        enough = [line for line in self.queries.get(label, []) if line["recall"] >= recall]
        return max(enough, key=lambda line: line["qps"], default=None)

    def best_qps(self, label: str, recall: float) -> float | None:
        """The queries per second of that setting."""
        line = self.best(label, recall)
        return line and line["qps"]

    def build_bytes(self, label: str) -> int | None:
        """The peak memory of a build; None where it was not measured."""
        line = self.builds.get(label, {})
        return line["private_bytes"] + line["shared_bytes"] if "private_bytes" in line else None


def read_run(path: Path) -> Run:
    """Reads one file.

    # Errors
    ResultError if it cannot be read, or holds no complete run.
    """
    try:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
    except (OSError, ValueError) as error:
        raise ResultError(f"{path}: {error}") from None
    machines = [line for line in lines if line.get("what") == "machine"]
    if len(machines) != 1:
        raise ResultError(f"{path}: {len(machines)} lines about the machine instead of one")
    run = Run(path.stem, path, machines[0])
    by_label = {
        "load": run.loads,
        "version": run.versions,
        "build": run.builds,
        "session": run.sessions,
        "cold": run.colds,
    }
    for line in lines:
        if line["what"] == "query":
            run.queries.setdefault(line["label"], []).append(line)
        elif line["what"] == "batch":
            run.batches.setdefault(line["label"], []).append(line)
        elif line["what"] in by_label:
            by_label[line["what"]][line["label"]] = line
    if not run.loads or run.loads.keys() != run.queries.keys():
        raise ResultError(f"{path}: the run did not end: not every method has results of queries")
    return run


def read_runs(paths: list[Path]) -> list[Run]:
    """Reads files, one run each, and sorts them by rows."""
    runs = sorted((read_run(path) for path in paths), key=lambda run: (run.rows, run.name))
    if len({run.name for run in runs}) < len(runs):
        raise ResultError("two result files have the same name")
    return runs


def ratio(value: float | None, yardstick: float | None) -> float | None:
    """`value` by `yardstick`; None where one of them is missing."""
    return value / yardstick if value is not None and yardstick else None
