"""A server that dies at any moment: after recovery every committed row is in the index, and the index is sound."""

from __future__ import annotations

import random
import threading
import time

import items
import psycopg
import pytest
from cluster import Cluster
from items import Scan
from progress import Statement, wait_for_build, wait_until

LISTS = 20

# Slow enough to be caught in the middle: a pause of 10 ms for every ten pages.
SLOW_VACUUM = {"vacuum_cost_delay": "10", "vacuum_cost_limit": "50", "vacuum_cost_page_hit": "5"}


def open_cluster(cluster: Cluster) -> psycopg.Connection:
    """Connects to a cluster that is up."""
    return psycopg.connect(cluster.dsn(), autocommit=True)


@pytest.mark.parametrize("storage", items.STORAGES)
def test_committed_inserts_survive_crashes_in_mid_insert(make_cluster, storage):
    cluster = make_cluster()
    with open_cluster(cluster) as connection:
        connection.execute("CREATE EXTENSION vectorgpu")
        items.create_items(connection, items.uniform(1_000, 32))
        items.create_index(connection, LISTS, storage=storage)
    generator = random.Random(items.SEED)
    acknowledged = set(range(1_000))
    for round_number in range(3):
        writers = [Writer(cluster, 10_000 * (10 * round_number + w + 1)) for w in range(4)]
        for writer in writers:
            writer.start()
        time.sleep(generator.uniform(0.3, 0.9))
        cluster.crash()
        for writer in writers:
            writer.join()
            assert writer.acknowledged, "the writer wrote nothing before the crash"
            acknowledged |= writer.acknowledged
        cluster.start()
        with open_cluster(cluster) as connection:
            stored = items.heap_ids(connection)
            assert acknowledged <= set(stored)
            assert items.indexed_ids(connection, LISTS) == stored
            # What was inserted and not committed is in the index until the next VACUUM.
            assert items.verify(connection) >= len(stored)
            items.vacuum(connection)
            assert items.verify(connection) == len(stored)


class Writer(threading.Thread):
    """Inserts batches until the server goes away; `acknowledged` holds the ids of the commits that it answered."""

    def __init__(self, cluster: Cluster, first_id: int):
        """Connects; writes ids from `first_id`."""
        super().__init__(daemon=True)
        self.connection = open_cluster(cluster)
        self.next_id = first_id
        self.acknowledged: set[int] = set()

    def run(self) -> None:
        """Inserts ten rows at a time."""
        try:
            while True:
                rows = items.uniform(10, 32, seed=self.next_id)
                items.copy_vectors(self.connection, "items", rows, self.next_id)
                self.acknowledged |= set(range(self.next_id, self.next_id + 10))
                self.next_id += 10
        except psycopg.Error:
            self.connection.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_crash_after_a_build_replays_the_whole_index(make_cluster, workers):
    cluster = make_cluster()
    query = items.uniform(1, 32, seed=9)[0]
    with open_cluster(cluster) as connection:
        connection.execute("CREATE EXTENSION vectorgpu")
        items.create_items(connection, items.uniform(10_000, 32))
        connection.execute(f"ALTER TABLE items SET (parallel_workers = {workers})")
        items.create_index(connection, LISTS)
        before = items.through_index(connection, query, Scan(probes=3, limit=100))
    cluster.crash()
    cluster.start()
    with open_cluster(cluster) as connection:
        assert items.through_index(connection, query, Scan(probes=3, limit=100)) == before
        assert items.verify(connection) == 10_000


@pytest.mark.parametrize("phase", ["assigning rows", "writing lists"])
@pytest.mark.parametrize("concurrently", ["", "CONCURRENTLY"], ids=["plain", "concurrently"])
def test_crash_in_mid_build_leaves_the_index_absent_or_invalid_or_whole(make_cluster, concurrently, phase):
    cluster = make_cluster()
    with open_cluster(cluster) as connection:
        connection.execute("CREATE EXTENSION vectorgpu")
        items.create_items(connection, items.uniform(50_000, 64))
        connection.execute("ALTER TABLE items SET (parallel_workers = 2)")
        build = Statement(
            cluster.dsn(),
            f"CREATE INDEX {concurrently} items_ivf ON items USING ivf (embedding vector_l2_ops) "
            "WITH (lists = 300, storage = 'f32')",
        )
        build.start()
        wait_for_build(connection, build, phase)
    cluster.crash()
    broken_off = build.finish() is not None
    cluster.start()
    with open_cluster(cluster) as connection:
        valid = connection.execute(
            "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('items_ivf')"
        ).fetchall()
        # The last pages take milliseconds to write: the commit may have reached the log before the crash.
        assert valid == [(True,)] or (broken_off and valid == ([(False,)] if concurrently else []))
        if valid == [(True,)]:
            assert items.verify(connection) == 50_000
        assert connection.execute("SELECT count(*) FROM items").fetchone() == (50_000,)
        connection.execute("DROP INDEX IF EXISTS items_ivf")
        items.create_index(connection, 50)
        assert items.verify(connection) == 50_000


def test_crash_in_mid_vacuum_loses_no_row(make_cluster):
    cluster = make_cluster()
    with open_cluster(cluster) as connection:
        connection.execute("CREATE EXTENSION vectorgpu")
        items.create_items(connection, items.uniform(30_000, 32))
        items.create_index(connection, LISTS)
        connection.execute("DELETE FROM items WHERE mod(id, 3) = 0")
        vacuum = Statement(cluster.dsn(), "VACUUM items", SLOW_VACUUM)
        vacuum.start()
        phase = "SELECT phase FROM pg_stat_progress_vacuum WHERE pid = %s"
        wait_until(
            lambda: connection.execute(phase, (vacuum.pid,)).fetchone() == ("vacuuming indexes",), "index vacuum"
        )
        time.sleep(0.1)
    cluster.crash()
    assert vacuum.finish() is not None, "VACUUM was over before the crash"
    cluster.start()
    with open_cluster(cluster) as connection:
        kept = [i for i in range(30_000) if i % 3]
        assert items.indexed_ids(connection, LISTS) == kept
        items.vacuum(connection)
        assert items.indexed_ids(connection, LISTS) == kept
        assert items.verify(connection) == len(kept)
