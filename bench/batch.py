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
    """What one statement took in seconds, and the ids found by query."""

    seconds: float
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


def ask_all(connection: psycopg.Connection, sql: str, ids_by_place: dict[bytes, int]) -> Answer:
    """Runs a statement of Method.search_batch through libpq alone."""
    started = time.perf_counter()
    result = connection.pgconn.exec_(sql.encode())
    seconds = time.perf_counter() - started
    if result.status != psycopg.pq.ExecStatus.TUPLES_OK:
        raise psycopg.OperationalError(result.get_error_message())
    ids: list[list[int]] = []
    for row in range(result.ntuples):
        query = int(result.get_value(row, 0))
        ids.extend([] for _ in range(query + 1 - len(ids)))
        ids[query].append(ids_by_place[result.get_value(row, 1)])
    return Answer(seconds, ids)


def places(connection: psycopg.Connection) -> dict[bytes, int]:
    """The id of the row at each place of `items`."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT ctid::text, id FROM items")
        return {place.encode(): identifier for place, identifier in cursor}
