"""A streaming standby answers exactly as its primary does, while the primary changes and after promotion."""

from __future__ import annotations

import shutil

import items
import psycopg
import pytest
import test_index_types
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


@pytest.mark.parametrize(
    ("name", "metric"),
    [("halfvec", "l2"), ("halfvec", "ip"), ("halfvec", "cosine"), ("vector", "l1"), ("halfvec", "l1")],
)
def test_indexes_of_other_types_and_distances_answer_on_a_standby_as_on_the_primary(make_cluster, name, metric):
    primary = make_cluster({"shared_buffers": "32MB"})
    with psycopg.connect(primary.dsn(), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vectorgpu")
        test_index_types.create(connection, name, items.uniform(3_000, test_index_types.DIMS) - 0.3)
        test_index_types.index(connection, name, metric)
        standby = make_cluster.adopt(start_standby(primary))
        with psycopg.connect(standby.dsn(), autocommit=True) as replica:
            # What the copy has, what WAL adds to it, and what WAL alone builds.
            for step in ("copied", "changed", "rebuilt"):
                if step == "changed":
                    connection.execute("INSERT INTO items SELECT id + 10000, embedding FROM items WHERE id % 3 = 0")
                    connection.execute("DELETE FROM items WHERE id % 5 = 0")
                    items.vacuum(connection)
                elif step == "rebuilt":
                    connection.execute("REINDEX INDEX CONCURRENTLY items_ivf")
                wait_for_replay(connection, replica)
                assert items.verify(replica) == items.verify(connection) == len(items.heap_ids(connection))
                for query in items.uniform(6, test_index_types.DIMS, seed=3) - 0.3:
                    for probes in (1, 5, test_index_types.LISTS):
                        ask = (name, metric, query, 20, probes)
                        assert test_index_types.ask(replica, *ask) == test_index_types.ask(connection, *ask)
                items.assert_same_answer(
                    test_index_types.ask(replica, *ask), test_index_types.ask(replica, *ask[:-1], None)
                )


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
    # A VACUUM leaves its last records to be flushed later; a commit that writes flushes them.
    primary.execute("SELECT pg_logical_emit_message(true, 'tests', 'flush')")
    (position,) = primary.execute("SELECT pg_current_wal_lsn()").fetchone()
    replayed = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
    wait_until(lambda: replica.execute(replayed, (position,)).fetchone()[0], "replay", every_s=0.05)


def assert_equal_answers(primary: psycopg.Connection, replica: psycopg.Connection) -> None:
    """Asserts that 20 queries give the same rows in the same order on both."""
    for query in items.uniform(20, DIMS, seed=3):
        for probes in (1, 10):
            scan = Scan(probes=probes, limit=20)
            assert items.through_index(replica, query, scan) == items.through_index(primary, query, scan)
