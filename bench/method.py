"""A method: one index of one extension, described by a TOML file, so that any extension can be measured.

Must not know how it is measured. A file that lacks a key, or has an unknown one, is refused with its name.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

REQUIRED = {"label", "extensions", "type", "index", "set", "sweep", "metrics"}
OPTIONAL = {"session", "preload", "warm", "batch", "batch_max"}


class MethodError(Exception):
    """A method file is not what it should be."""


@dataclass(frozen=True)
class Method:
    """How to make and search one index.

    `index` is the part of CREATE INDEX from USING on (empty: no index); `set` is run before the queries of each value
    of `sweep`, with `{}` replaced by it; `session` is run on every new connection, builds included; `preload` names a
    library that the server must have in shared_preload_libraries; `warm` is run on a connection before its queries;
    `batch` asks all rows of the table `queries` at once, of which there are `batch_max` at the most (0: no limit).
    """

    label: str
    extensions: list[str]
    type: str
    index: str
    set: str
    sweep: list[int]
    operator: str
    values: dict[str, str]
    session: list[str] = field(default_factory=list)
    preload: str = ""
    warm: str = ""
    batch: str = ""
    batch_max: int = 0

    @property
    def database(self) -> str:
        """The method's own database: two extensions may give their types the same name."""
        return "bench_" + "".join(c if c.isalnum() else "_" for c in self.label.lower())

    def column_type(self) -> str:
        """The SQL type of the vector column."""
        return self.type.format(**self.values)

    def create_index(self) -> str:
        """The statement that builds the index; empty for a method without one."""
        return f"CREATE INDEX items_index ON items {self.index.format(**self.values)}" if self.index else ""

    def search(self, k: int) -> str:
        """The query: the `k` nearest ids, with the query vector as its only parameter."""
        return f"SELECT id FROM items ORDER BY embedding {self.operator} %s::{self.column_type()} LIMIT {k}"

    def search_batch(self, k: int) -> str:
        """The statement that asks all queries at once; empty for a method without one."""
        return self.batch.format(**self.values, operator=self.operator, k=k)


def read_method(path: Path, metric: str, values: dict[str, int]) -> Method:
    """Reads a method file for one metric; `values` (dims, lists, threads) fill its placeholders.

    # Errors
    MethodError if the file cannot be read, lacks a key, has an unknown one, or does not offer the metric.
    """
    try:
        document = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise MethodError(f"{path}: {error}") from None
    missing, unknown = REQUIRED - document.keys(), document.keys() - REQUIRED - OPTIONAL
    if missing or unknown:
        raise MethodError(f"{path}: missing keys {sorted(missing)}, unknown keys {sorted(unknown)}")
    metrics = document.pop("metrics")
    if metric not in metrics:
        raise MethodError(f"{path}: no metric {metric}, only {', '.join(metrics)}")
    texts = {name: str(value) for name, value in values.items()} | metrics[metric]
    method = Method(**document, operator=texts.pop("operator"), values=texts)
    try:
        method.column_type()
        method.create_index()
        method.search_batch(1)
    except (KeyError, IndexError, ValueError) as error:
        raise MethodError(f"{path}: unknown placeholder {error}") from None
    return method
