"""Many writers, VACUUM, searches and index builds at once: nothing is lost or returned twice, nothing hangs."""

from __future__ import annotations

import threading
from collections.abc import Callable

import items
import numpy as np
import psycopg
from items import Scan

WRITERS, BATCHES, BATCH, DIMS, LISTS = 10, 30, 20, 32, 40


class Client(threading.Thread):
    """Runs `work(connection)` on a connection of its own; `error` is what it raised."""

    def __init__(self, dsn: str, work: Callable[[psycopg.Connection], None]):
        """Keeps what to do; `start` does it."""
        super().__init__(daemon=True)
        self.dsn, self.work = dsn, work
        self.error: BaseException | None = None

    def run(self) -> None:
        """Does the work and keeps what it raises."""
        try:
            with psycopg.connect(self.dsn, autocommit=True) as connection:
                connection.execute("SET vectorgpu.device = 'cpu'")
                self.work(connection)
        except Exception as error:
            self.error = error


def write(connection: psycopg.Connection, first_id: int) -> None:
    """Inserts batches; of each, updates some rows and deletes every fifth."""
    for batch in range(BATCHES):
        start = first_id + batch * BATCH
        items.copy_vectors(connection, "items", items.uniform(BATCH, DIMS, seed=start), start)
        span = (start, start + BATCH)
        connection.execute(
            "UPDATE items SET embedding = embedding + embedding WHERE id >= %s AND id < %s AND mod(id, 4) = 1", span
        )
        connection.execute("DELETE FROM items WHERE id >= %s AND id < %s AND mod(id, 5) = 0", span)


def test_ten_writers_with_vacuum_searches_and_concurrent_builds_lose_nothing(connection, database):
    items.create_items(connection, items.uniform(5_000, DIMS))
    items.create_index(connection, LISTS)
    done = threading.Event()

    def vacuum(client: psycopg.Connection) -> None:
        while not done.is_set():
            client.execute("VACUUM items")

    def search(client: psycopg.Connection) -> None:
        queries = items.uniform(50, DIMS, seed=1)
        client.execute("SET enable_seqscan = off")
        client.execute("SET vectorgpu.probes = 5")
        count = 0
        while not done.is_set():
            text = items.vector_text(queries[count % len(queries)])
            rows = client.execute(
                f"SELECT id, embedding <-> '{text}' FROM items ORDER BY embedding <-> '{text}' LIMIT 20"
            ).fetchall()
            items.assert_sorted(rows)
            assert len({identifier for identifier, _ in rows}) == len(rows) == 20
            count += 1
        assert count > 0

    def build(client: psycopg.Connection) -> None:
        for number in range(3):
            client.execute(
                f"CREATE INDEX CONCURRENTLY later_{number} ON items USING ivf (embedding vector_l2_ops) "
                f"WITH (lists = {LISTS}, storage = '{('int8', 'f16', 'rabitq')[number]}')"
            )
        client.execute("REINDEX INDEX CONCURRENTLY later_0")

    writers = [Client(database, lambda c, w=w: write(c, 10_000 * (w + 1))) for w in range(WRITERS)]
    others = [Client(database, work) for work in (vacuum, search, build)]
    for client in writers + others:
        client.start()
    for client in [*writers, others[-1]]:
        client.join(timeout=120)
        assert not client.is_alive(), "a client hangs"
    done.set()
    for client in others:
        client.join(timeout=60)
        assert not client.is_alive(), "a client hangs"
    errors = [client.error for client in writers + others if client.error is not None]
    assert not errors, errors

    stored = items.heap_ids(connection)
    assert len(stored) == 5_000 + WRITERS * BATCHES * BATCH * 4 // 5
    items.vacuum(connection)
    for index in ("items_ivf", "later_0", "later_1", "later_2"):
        assert items.verify(connection, index) == len(stored), index
        assert ids_through_only(connection, index) == stored, index


def ids_through_only(connection: psycopg.Connection, index: str) -> list[int]:
    """All ids that a scan through `index` returns; the other indexes are out of the way for the time being."""
    with connection.transaction(force_rollback=True):
        for other in {"items_ivf", "later_0", "later_1", "later_2"} - {index}:
            connection.execute(f"DROP INDEX {other}")
        connection.execute(f"ALTER INDEX {index} RENAME TO items_ivf_only")
        return items.indexed_ids(connection, LISTS)


def test_eight_readers_share_an_index_and_agree(connection, database):
    rows = items.uniform(10_000, DIMS)
    items.create_items(connection, rows)
    items.create_index(connection, LISTS)
    queries = items.uniform(30, DIMS, seed=2)
    expected = [items.through_index(connection, query, Scan(probes=5)) for query in queries]

    def read(client: psycopg.Connection) -> None:
        for i in np.random.default_rng(items.SEED).permutation(len(queries)):
            assert items.through_index(client, queries[i], Scan(probes=5)) == expected[i]

    readers = [Client(database, read) for _ in range(8)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(timeout=60)
        assert not reader.is_alive() and reader.error is None, reader.error
