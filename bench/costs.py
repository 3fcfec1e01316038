"""Compares the planner's choices with the clock: for each query, the plan with the ivf index and the plan without.

Both are forced by switching plan types off, and timed by the server (EXPLAIN ANALYZE), with everything in memory. A
choice is right when its plan takes no more than `--slack` times what the other one takes. The index is never right
where it returns far fewer rows than asked for ("short": it skips rows nearer than those returned before), nor for every
row of the table ("all": rows without a vector are not in it).
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psycopg
from cluster import ClusterError, bindir_of, temporary_cluster
from datasets import Dataset, DatasetError, clustered, fashion_mnist, glove
from provenance import memory_bytes
from vectors import copy_vectors, vector_text

HERE = Path(__file__).resolve().parent
PG_CONFIG = os.environ.get("PG_CONFIG", "pg_config")
# The filter columns hold 0 to 999, shuffled: a condition `< 10` keeps one row of a hundred.
STEPS = 1000
# A run that takes longer is not repeated.
LONG_MS = 150.0
# Fewer of the rows that are there: the plan does not answer the query.
COMPLETE = 0.9
WITH_IVF = {"enable_seqscan": "off", "enable_bitmapscan": "off", "enable_sort": "off"}
WITHOUT_IVF = {"enable_indexscan": "off"}
HEADER = "   rows storage      lists         filter  limit  chosen       ivf ms  other ms  verdict"


@dataclass(frozen=True)
class Case:
    """A query: how many lists it reads at a time, which rows it wants (of 1,000; None: all), and how many."""

    probes: int
    column: str | None
    kept: int
    limit: int | None

    def sql(self, query: str) -> str:
        """The statement that asks for the rows nearest to `query`."""
        where = f"WHERE {self.column} < {self.kept} " if self.column else ""
        limit = f" LIMIT {self.limit}" if self.limit else ""
        return f"SELECT id FROM items {where}ORDER BY embedding <-> '{query}'{limit}"

    def filter_text(self) -> str:
        """The filter as the table shows it."""
        return f"{self.kept / STEPS} {self.column}" if self.column else "-"


@dataclass(frozen=True)
class Timing:
    """What one plan took, and what it returned."""

    ms: float
    rows: int


def main() -> int:
    """Parses the command line and measures; returns the exit status."""
    options = parse_arguments()
    try:
        data = load_dataset(options)
        if options.dsn:
            measure(options, options.dsn, data)
            return 0
        settings = {
            "shared_buffers": f"{min(8 << 30, memory_bytes() // 4) >> 20}MB",
            "max_wal_size": "16GB",
            "checkpoint_timeout": "1h",
            "autovacuum": "off",
            "jit": "off",
        }
        with temporary_cluster(options.target / "costs-cluster", bindir_of(PG_CONFIG), settings) as cluster:
            measure(options, cluster.dsn(), data)
        return 0
    except (ClusterError, DatasetError, psycopg.Error) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def parse_arguments() -> argparse.Namespace:
    """Describes the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dsn", help="a running server, in which the table items is replaced; else a private one")
    parser.add_argument("--target", type=Path, default=HERE.parent / "target", help="folder for server and cache")
    parser.add_argument("--data", default="fashion-mnist", choices=["fashion-mnist", "glove", "clustered"])
    parser.add_argument("--dims", type=int, default=256, help="dimensions of the clustered set")
    parser.add_argument("--rows", type=numbers, default=[100, 1_000, 10_000, 60_000], help="rows of the table")
    parser.add_argument("--storages", type=lambda text: text.split(","), default=["f32", "f16", "int8", "rabitq"])
    parser.add_argument("--lists", type=int, default=0, help="lists of the index (0: its own choice)")
    parser.add_argument("--probes", type=numbers, help="default: one, the index's own, a quarter of the lists, all")
    parser.add_argument("--limits", type=numbers, default=[1, 10, 100, 1_000, 10_000, 0], help="0: no limit")
    parser.add_argument("--filters", type=numbers, default=[500, 100, 10, 1], help="rows kept of 1,000")
    parser.add_argument("--queries", type=int, default=3, help="query vectors, of which the median counts")
    parser.add_argument("--slack", type=float, default=1.25, help="how much slower a right choice may be")
    return parser.parse_args()


def numbers(text: str) -> list[int]:
    """Reads `1,2,3`."""
    return [int(number) for number in text.split(",") if number]


def load_dataset(options: argparse.Namespace) -> Dataset:
    """Makes or reads the data set."""
    if options.data == "fashion-mnist":
        return fashion_mnist(options.queries)
    if options.data == "glove":
        return glove(options.target / "datasets", options.queries)
    return clustered(max(options.rows), options.dims, options.queries)


def measure(options: argparse.Namespace, dsn: str, data: Dataset) -> None:
    """Measures every table, storage and case, and prints a line for each case."""
    queries = [vector_text(query) for query in data.queries[: options.queries]]
    counts: dict[str, int] = {}
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vectorgpu; CREATE EXTENSION IF NOT EXISTS pg_prewarm")
        print(HEADER)
        for rows in options.rows:
            base = data.base[:rows]
            create_table(connection, base)
            others: dict[str, Timing] = {}
            for storage in options.storages:
                lists = create_index(connection, storage, options.lists)
                for case in cases(options, lists):
                    connection.execute(f"SET vectorgpu.probes = {case.probes}")
                    verdict = judge(connection, case, len(base), queries, others, options.slack)
                    size = f"{len(base):7} {storage:8} {case.probes:>4}/{lists:<4}"
                    print(f"{size} {case.filter_text():>14} {case.limit or 'all':>6}  {verdict}", flush=True)
                    word = verdict.split()[-1]
                    counts[word] = counts.get(word, 0) + 1
    print("; ".join(f"{word}: {count}" for word, count in sorted(counts.items())))


def create_table(connection: psycopg.Connection, base: np.ndarray) -> None:
    """Fills the table `items` with vectors and two columns to filter by, of which one has a btree index."""
    connection.execute("DROP TABLE IF EXISTS items, loaded")
    connection.execute(f"CREATE TABLE loaded (id int, embedding vector({base.shape[1]}))")
    copy_vectors(connection, "loaded", base)
    # Shuffled without chance: 7,919 is a prime, and has no factor in common with 1,000.
    connection.execute(
        f"CREATE TABLE items AS SELECT id, shuffled AS plain, shuffled AS btree, embedding "
        f"FROM loaded, LATERAL (SELECT id::bigint * 7919 % {STEPS} AS shuffled) s ORDER BY id"
    )
    connection.execute("DROP TABLE loaded; CREATE INDEX items_btree ON items (btree)")
    connection.execute("VACUUM ANALYZE items")
    connection.execute("SELECT pg_prewarm('items'), pg_prewarm(reltoastrelid) FROM pg_class WHERE relname = 'items'")


def create_index(connection: psycopg.Connection, storage: str, lists: int) -> int:
    """Builds the ivf index on `items`; returns its number of lists."""
    connection.execute("DROP INDEX IF EXISTS items_ivf")
    connection.execute(
        "CREATE INDEX items_ivf ON items USING ivf (embedding vector_l2_ops) "
        f"WITH (lists = {lists}, storage = '{storage}')"
    )
    connection.execute("SELECT pg_prewarm('items_ivf')")
    return connection.execute("SELECT lists FROM vectorgpu.index_info('items_ivf')").fetchone()[0]


def cases(options: argparse.Namespace, lists: int) -> Iterator[Case]:
    """All limits without a filter at every number of probes; the filters at the index's own number."""
    own = max(1, int(lists**0.5))
    probes = options.probes or [1, own, max(1, lists // 4), lists]
    limits = [limit or None for limit in options.limits]
    for count, limit in itertools.product(dict.fromkeys(probes), limits):
        yield Case(count, None, STEPS, limit)
    few = [limit for limit in limits if limit and limit in (10, 100)]
    for column, kept, limit in itertools.product(("plain", "btree"), options.filters, few):
        yield Case(own, column, kept, limit)


def judge(
    connection: psycopg.Connection, case: Case, rows: int, queries: list[str], others: dict[str, Timing], slack: float
) -> str:
    """Times both plans of a case, the one without the index only once for all storages; the last word is the verdict:
    right, close (a wrong choice that hardly matters) or wrong."""
    plan = explain(connection, case.sql(queries[0]), {})
    chosen = "ivf" if "items_ivf" in str(plan) else "btree" if "items_btree" in str(plan) else "seqscan"
    ivf = time_plan(connection, case, queries, WITH_IVF)
    key = case.sql("")
    if key not in others:
        others[key] = time_plan(connection, case, queries, WITHOUT_IVF)
    other = others[key]
    taken, best = (ivf.ms, other.ms) if chosen == "ivf" else (other.ms, ivf.ms)
    if case.column is None and other.rows == rows:
        verdict = "all wrong" if chosen == "ivf" else "all right"
    elif ivf.rows < COMPLETE * other.rows:
        verdict = "short wrong" if chosen == "ivf" else "short right"
    elif taken <= best * slack:
        verdict = "right"
    else:
        verdict = f"{taken / best:.1f}x {'close' if taken <= best * 2 or taken < best + 0.1 else 'wrong'}"
    return f"{chosen:9} {ivf.ms:9.2f} {other.ms:9.2f}  {verdict}"


def time_plan(connection: psycopg.Connection, case: Case, queries: list[str], settings: dict[str, str]) -> Timing:
    """The median over the queries, after a run that warms up."""
    results = []
    for query in queries[:1] + queries:
        root = explain(connection, case.sql(query), settings, "ANALYZE, TIMING OFF, ")
        results.append(Timing(root["Execution Time"], int(root["Plan"]["Actual Rows"])))
        if root["Execution Time"] > LONG_MS:
            break
    measured = sorted(results[1:] or results, key=lambda timing: timing.ms)
    return measured[len(measured) // 2]


def explain(connection: psycopg.Connection, sql: str, settings: dict[str, str], options: str = "") -> dict:
    """The plan of a statement under some settings, which hold for it alone."""
    with connection.transaction():
        for name, value in settings.items():
            connection.execute("SELECT set_config(%s, %s, true)", (name, value))
        return connection.execute(f"EXPLAIN ({options}FORMAT JSON) {sql}", prepare=False).fetchone()[0][0]


if __name__ == "__main__":
    sys.exit(main())
