"""Many queries in one statement: what a server makes of them end to end.

The statement returns the number of each query, from 0, and the `ctid` of each row found, so that no method pays for
reading rows. It is timed as one client sees it, up to the last row; which ids the rows have is looked up afterwards.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import psycopg
from datasets import Truth
from method import Method
from vectors import copy_vectors


@dataclass(frozen=True)
class Answer:
    """What one statement took in seconds, how many queries it answered, and the ids found for the first of them."""

    seconds: float
    queries: int
    ids: list[list[int]]

    def recall(self, truth: Truth, k: int) -> float:
        """The share of the exact answers among those found, of the queries that have exact answers."""
        known = min(len(self.ids), len(truth.ids))
        return round(sum(truth.hits(i, self.ids[i], k) for i in range(known)) / (k * known), 4)


def load_queries(connection: psycopg.Connection, method: Method, queries: np.ndarray) -> None:
    """Makes the table `queries` that statements read."""
    connection.execute(f"CREATE TABLE queries (id int, embedding {method.column_type()})")
    copy_vectors(connection, "queries", queries[: method.batch_max or len(queries)])
    connection.execute("VACUUM ANALYZE queries")


def ask_all(connection: psycopg.Connection, sql: str, known: int) -> Answer:
    """Runs a statement of Method.search_batch through libpq alone; keeps the ids of the first `known` queries."""
    started = time.perf_counter()
    result = connection.pgconn.exec_(sql.encode())
    seconds = time.perf_counter() - started
    if result.status != psycopg.pq.ExecStatus.TUPLES_OK:
        raise psycopg.OperationalError(result.get_error_message())
    queries = 0
    found: list[list[str]] = [[] for _ in range(known)]
    for row in range(result.ntuples):
        query = int(result.get_value(row, 0))
        queries = max(queries, query + 1)
        if query < known:
            found[query].append(result.get_value(row, 1).decode())
    ids = ids_by_place(connection, sorted({place for places in found for place in places}))
    return Answer(seconds, queries, [[ids[place] for place in places] for places in found[:queries]])


def ids_by_place(connection: psycopg.Connection, places: list[str]) -> dict[str, int]:
    """The ids of the rows at these places of `items`: of all rows they would take longer than many a search."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT ctid::text, id FROM items WHERE ctid = ANY(%s::tid[])", (places,))
        return dict(cursor.fetchall())
