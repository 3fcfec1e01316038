"""A streaming standby answers exactly as its primary does, while the primary changes and after promotion."""

from __future__ import annotations

import shutil

import items
import psycopg
from cluster import Cluster, data_parent
from conftest import CLUSTERS
from items import Scan
from progress import wait_until

ROWS, DIMS, LISTS = 20_000, 32, 50


def test_standby_answers_as_the_primary_through_changes_and_promotion(make_cluster):
    primary = make_cluster()
    with psycopg.connect(primary.dsn(), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vectorgpu")
        items.create_items(connection, items.uniform(ROWS, DIMS))
        standby = make_cluster.adopt(start_standby(primary))
        # Built after the copy was taken: the standby gets the index through WAL alone, from several writers at once.
        connection.execute("ALTER TABLE items SET (parallel_workers = 2)")
        items.create_index(connection, LISTS)
        with psycopg.connect(standby.dsn(), autocommit=True) as replica:
            for round_number in range(5):
                change(connection, round_number)
                wait_for_replay(connection, replica)
                assert_equal_answers(connection, replica)
            stored = items.heap_ids(connection)
            assert items.verify(replica) == len(stored)
            assert replica.execute("SELECT pg_promote()").fetchone() == (True,)
            items.copy_vectors(replica, "items", items.uniform(100, DIMS, seed=77), first_id=900_000)
            assert items.indexed_ids(replica, LISTS) == stored + list(range(900_000, 900_100))
            assert items.verify(replica) == len(stored) + 100


def start_standby(primary: Cluster) -> Cluster:
    """Copies the primary and starts the copy."""
    preferred = CLUSTERS / "standby"
    shutil.rmtree(preferred, ignore_errors=True)
    folder, _ = data_parent(preferred)
    standby = primary.standby(folder)
    standby.start()
    return standby


def change(connection: psycopg.Connection, round_number: int) -> None:
    """Deletes five per cent of the rows, vacuums, and inserts as many new ones."""
    connection.execute("DELETE FROM items WHERE mod(id, 20) = %s", (round_number,))
    connection.execute("VACUUM items")
    first_id = 100_000 * (round_number + 1)
    items.copy_vectors(connection, "items", items.uniform(ROWS // 20, DIMS, seed=round_number), first_id)


def wait_for_replay(primary: psycopg.Connection, replica: psycopg.Connection) -> None:
    """Waits until the standby has replayed what the primary has written."""
    (position,) = primary.execute("SELECT pg_current_wal_lsn()").fetchone()
    replayed = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
    wait_until(lambda: replica.execute(replayed, (position,)).fetchone()[0], "replay", every_s=0.05)


def assert_equal_answers(primary: psycopg.Connection, replica: psycopg.Connection) -> None:
    """Asserts that 20 queries give the same rows in the same order on both."""
    for query in items.uniform(20, DIMS, seed=3):
        for probes in (1, 10):
            scan = Scan(probes=probes, limit=20)
            assert items.through_index(replica, query, scan) == items.through_index(primary, query, scan)
