"""The table that the tests search: filling it, indexing it, and asking it through the index or without.

Exact search is the same SQL with index scans switched off, so that the operator, not this file, says what is near.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import psycopg
from vectors import copy_vectors, vector_text

SEED = 20_240_607

# Operator and operator class of each metric.
METRICS = {"l2": ("<->", "vector_l2_ops"), "ip": ("<#>", "vector_ip_ops"), "cosine": ("<=>", "vector_cosine_ops")}

PAGE = 8192
# Where a page's header holds what differs between two writes of the same page: its LSN and checksum.
LSN_AND_CHECKSUM = 10

# How an index may store its rows.
STORAGES = ["f32", "f16", "int8", "rabitq"]

Row = tuple[int, float]


@dataclass(frozen=True)
class Scan:
    """How to search: the metric, the number of probes, an SQL condition, and how many rows (None: all)."""

    metric: str = "l2"
    probes: int = 10
    limit: int | None = 10
    where: str = "true"
    iterative: str = "strict_order"


def uniform(rows: int, dims: int, seed: int = SEED) -> np.ndarray:
    """Random vectors in the unit cube, [rows, dims] f32."""
    return np.random.default_rng(seed).random((rows, dims), dtype=np.float32)


def create_items(connection: psycopg.Connection, rows: np.ndarray, options: str = "") -> None:
    """Makes the table `items (id, embedding)` and loads `rows` with ids from 0. `options` is e.g. UNLOGGED."""
    connection.execute(f"CREATE {options} TABLE items (id int PRIMARY KEY, embedding vector({rows.shape[1]}))")
    if len(rows):
        copy_vectors(connection, "items", rows)
    connection.execute("ANALYZE items")


def create_index(
    connection: psycopg.Connection, lists: int, metric: str = "l2", storage: str = "auto", name: str = "items_ivf"
) -> None:
    """Builds an ivf index on `items`."""
    opclass = METRICS[metric][1]
    connection.execute(
        f"CREATE INDEX {name} ON items USING ivf (embedding {opclass}) WITH (lists = {lists}, storage = '{storage}')"
    )


def through_index(connection: psycopg.Connection, query: np.ndarray, scan: Scan) -> list[Row]:
    """Searches with the index, and asserts that the plan has it."""
    settings = {
        "enable_seqscan": "off",
        "vectorgpu.probes": str(scan.probes),
        "vectorgpu.iterative_scan": scan.iterative,
    }
    rows, plan = run(connection, query, scan, settings)
    assert "Index Scan" in plan and "items_ivf" in plan, f"the index was not used:\n{plan}"
    return rows


def exact(connection: psycopg.Connection, query: np.ndarray, scan: Scan) -> list[Row]:
    """Searches every row of the table."""
    rows, plan = run(connection, query, scan, {"enable_indexscan": "off", "enable_bitmapscan": "off"})
    assert "Seq Scan" in plan, f"not an exact search:\n{plan}"
    return rows


def run(
    connection: psycopg.Connection, query: np.ndarray, scan: Scan, settings: dict[str, str]
) -> tuple[list[Row], str]:
    """Runs a search under `settings`; returns (id, distance) rows and the plan."""
    operator = METRICS[scan.metric][0]
    sql = (
        f"SELECT id, embedding {operator} %(q)s::vector FROM items WHERE {scan.where} "
        f"ORDER BY embedding {operator} %(q)s::vector"
    )
    if scan.limit is not None:
        sql += f" LIMIT {scan.limit}"
    arguments = {"q": vector_text(query)}
    with connection.transaction():
        for name, value in settings.items():
            connection.execute("SELECT set_config(%s, %s, true)", (name, value))
        # Never as a prepared statement: its plan would outlive the settings, and exact search would use the index.
        plan = "\n".join(line for (line,) in connection.execute("EXPLAIN " + sql, arguments, prepare=False))
        return connection.execute(sql, arguments, prepare=False).fetchall(), plan


def recall(connection: psycopg.Connection, queries: Iterable[np.ndarray], scan: Scan) -> float:
    """The share of the exact answers that the index finds; a row as near as the last exact one counts."""
    found = wanted = 0
    for query in queries:
        truth = exact(connection, query, scan)
        worst = truth[-1][1]
        rows = through_index(connection, query, scan)
        assert_sorted(rows)
        assert len({identifier for identifier, _ in rows}) == len(rows), "a row was returned twice"
        found += sum(1 for _, distance in rows if distance <= worst)
        wanted += len(truth)
    return found / wanted


def assert_sorted(rows: list[Row]) -> None:
    """Asserts that distances never fall from one row to the next."""
    distances = [distance for _, distance in rows]
    assert distances == sorted(distances), "rows are not in the operator's order"


def assert_same_answer(left: list[Row], right: list[Row]) -> None:
    """Asserts equal distances in equal order and, ties apart, equal ids."""
    assert [d for _, d in left] == [d for _, d in right]
    # Rows at one distance may come in any order, and where a limit cuts a group of them, any of them may be left.
    last = left[-1][1] if left else None
    assert {r for r in left if r[1] != last} == {r for r in right if r[1] != last}


def server_loses_places(connection: psycopg.Connection) -> bool:
    """Tells whether this server forgets where a row lies that an index scan has put in order again, those of GiST too:
    some versions do, and cannot lock such rows."""
    with connection.transaction(force_rollback=True):
        connection.execute("CREATE TABLE shapes (shape polygon)")
        connection.execute(
            "INSERT INTO shapes SELECT polygon(circle(point(100 * sin(i), 100 * cos(i)), 1 + i % 30)) "
            "FROM generate_series(1, 500) i",
            prepare=False,
        )
        connection.execute("CREATE INDEX ON shapes USING gist (shape)")
        connection.execute("SET LOCAL enable_seqscan = off")
        nearest = "SELECT ctid::text FROM shapes ORDER BY shape <-> point(150, 150) LIMIT 5"
        return "(4294967295,0)" in {place for (place,) in connection.execute(nearest)}


def indexed_ids(connection: psycopg.Connection, lists: int, metric: str = "l2") -> list[int]:
    """Every id that a scan of all lists returns, sorted: the index's whole content as a query sees it."""
    (dims,) = connection.execute(
        "SELECT atttypmod FROM pg_attribute WHERE attrelid = 'items'::regclass AND attname = 'embedding'"
    ).fetchone()
    scan = Scan(metric=metric, probes=lists, limit=None)
    rows = through_index(connection, np.full(dims, 0.5, np.float32), scan)
    return sorted(identifier for identifier, _ in rows)


def heap_ids(connection: psycopg.Connection) -> list[int]:
    """Every id of the table whose embedding is not NULL, sorted."""
    rows = connection.execute("SELECT id FROM items WHERE embedding IS NOT NULL ORDER BY id")
    return [identifier for (identifier,) in rows]


def vacuum(connection: psycopg.Connection) -> None:
    """Removes dead rows from the table and, however few they are, from its indexes."""
    connection.execute("VACUUM (INDEX_CLEANUP on) items")


def verify(connection: psycopg.Connection, index: str = "items_ivf") -> int:
    """Runs vectorgpu.verify, which raises XX002 on a damaged index; returns the number of rows in the index, those of
    dead row versions included."""
    return connection.execute("SELECT vectorgpu.verify(%s::regclass)", (index,)).fetchone()[0]


def pages(connection: psycopg.Connection, index: str = "items_ivf") -> np.ndarray:
    """The pages of an index as they lie on disk, without LSNs and checksums."""
    connection.execute("CHECKPOINT")
    (content,) = connection.execute(
        "SELECT pg_read_binary_file(pg_relation_filepath(%s::regclass))", (index,)
    ).fetchone()
    return np.frombuffer(content, np.uint8).reshape(-1, PAGE)[:, LSN_AND_CHECKSUM:]
