"""What VACUUM does: removed rows are gone, their space is used again, and it may run beside everything else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import items
import psycopg
import pytest
from cluster import Cluster
from items import Scan

SIZE = "SELECT pg_relation_size('items_ivf')"


@pytest.fixture
def quiet_connection(make_cluster: Callable[..., Cluster]) -> Iterator[psycopg.Connection]:
    """A connection to a server without autovacuum, whose snapshots keep VACUUM from removing rows just deleted."""
    cluster = make_cluster({"autovacuum": "off"})
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vectorgpu")
        yield connection


@pytest.mark.parametrize("storage", items.STORAGES)
def test_delete_all_vacuum_and_insert_again_keeps_the_size(quiet_connection, storage):
    rows = items.uniform(10_000, 32)
    items.create_items(quiet_connection, rows)
    items.create_index(quiet_connection, 50, storage=storage)
    # Pages that were filled one row at a time lie otherwise than a build's, so the second round is the yardstick.
    sizes = []
    for _ in range(3):
        quiet_connection.execute("DELETE FROM items")
        items.vacuum(quiet_connection)
        assert items.indexed_ids(quiet_connection, 50) == []
        items.copy_vectors(quiet_connection, "items", rows)
        sizes.append(quiet_connection.execute(SIZE).fetchone()[0])
    assert sizes[0] == sizes[1] == sizes[2], f"the index grew: {sizes}"
    assert items.indexed_ids(quiet_connection, 50) == list(range(10_000))
    assert items.verify(quiet_connection) == 10_000


def test_reinserting_after_a_build_does_not_grow_the_index(quiet_connection):
    rows = items.uniform(10_000, 32)
    items.create_items(quiet_connection, rows)
    items.create_index(quiet_connection, 50)
    (built,) = quiet_connection.execute(SIZE).fetchone()
    quiet_connection.execute("DELETE FROM items")
    items.vacuum(quiet_connection)
    items.copy_vectors(quiet_connection, "items", rows)
    (again,) = quiet_connection.execute(SIZE).fetchone()
    # At most one page more for each list, whose last page may be less full than the build left it.
    assert again <= built + 50 * 8192, f"{built} bytes became {again}"


def test_rounds_of_half_deletes_do_not_grow_the_index(quiet_connection):
    rows = items.uniform(10_000, 32)
    items.create_items(quiet_connection, rows)
    items.create_index(quiet_connection, 50)
    sizes = []
    for round_number in range(6):
        quiet_connection.execute("DELETE FROM items WHERE mod(id, 2) = %s", (round_number % 2,))
        items.vacuum(quiet_connection)
        missing = [i for i in range(10_000) if i % 2 == round_number % 2]
        quiet_connection.execute("CREATE TEMP TABLE back (id int, embedding vector(32))")
        items.copy_vectors(quiet_connection, "back", rows)
        quiet_connection.execute("INSERT INTO items SELECT * FROM back WHERE id = ANY(%s)", (missing,))
        quiet_connection.execute("DROP TABLE back")
        sizes.append(quiet_connection.execute(SIZE).fetchone()[0])
    assert sizes[-1] <= 1.1 * sizes[1], f"the index grew: {sizes}"
    assert items.indexed_ids(quiet_connection, 50) == list(range(10_000))
    assert items.verify(quiet_connection) == 10_000


def test_vacuum_beside_a_running_scan_loses_no_row(connection, database):
    rows = items.uniform(10_000, 32)
    items.create_items(connection, rows)
    items.create_index(connection, 50)
    with psycopg.connect(database) as reader:
        reader.execute("SET LOCAL enable_seqscan = off")
        reader.execute("SET LOCAL vectorgpu.probes = 1")
        query = items.vector_text(rows[0])
        cursor = reader.cursor("stream")
        cursor.execute(f"SELECT id FROM items ORDER BY embedding <-> '{query}'")
        first = [identifier for (identifier,) in cursor.fetchmany(100)]
        connection.execute("DELETE FROM items WHERE id >= 5000")
        worker = threading.Thread(target=lambda: items.vacuum(connection))
        worker.start()
        rest = [identifier for (identifier,) in cursor]
        reader.rollback()
        worker.join(timeout=60)
        assert not worker.is_alive(), "VACUUM waits for a scan that is over"
    seen = first + rest
    # One probe at a time in strict order leaves rows out; what it returns is each row once, and old rows still count.
    assert len(seen) == len(set(seen))
    items.vacuum(connection)
    assert items.indexed_ids(connection, 50) == list(range(5_000))


def test_updates_leave_one_version_of_each_row(connection):
    items.create_items(connection, items.uniform(2_000, 32))
    items.create_index(connection, 20)
    for _ in range(3):
        connection.execute("UPDATE items SET embedding = embedding + embedding")
    items.vacuum(connection)
    assert items.indexed_ids(connection, 20) == list(range(2_000))
    query = items.uniform(1, 32)[0] * 8
    scan = Scan(probes=20, limit=None)
    items.assert_same_answer(items.through_index(connection, query, scan), items.exact(connection, query, scan))
    assert items.verify(connection) == 2_000
