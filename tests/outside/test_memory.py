"""Memory of a backend: flat over ten thousand rescans, bounded in a build."""

from __future__ import annotations

import threading
from pathlib import Path

import items
import psycopg
import pytest

# One page kept by mistake at each rescan would be 80 MB, one small allocation of 500 bytes 5 MB.
GROWTH_LIMIT_BYTES = 4 << 20


class PrivateMemory(threading.Thread):
    """Samples the private memory of a process while a block runs; `peak_bytes` is the most that it had.

    Shared buffers are left out: a backend maps more of them with every page it touches.
    """

    def __init__(self, pid: int):
        """Watches the process `pid`."""
        super().__init__(daemon=True)
        self.status = Path(f"/proc/{pid}/status")
        self.peak_bytes = 0
        self.stop = threading.Event()

    def run(self) -> None:
        """Samples twenty times a second."""
        while not self.stop.wait(0.05):
            self.sample()

    def sample(self) -> None:
        """Reads RssAnon once."""
        line = next(line for line in self.status.read_text().splitlines() if line.startswith("RssAnon"))
        self.peak_bytes = max(self.peak_bytes, int(line.split()[1]) * 1024)

    def __enter__(self) -> PrivateMemory:
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop.set()
        self.join()
        self.sample()


def rescan(connection: psycopg.Connection, count: int) -> int:
    """Searches the index `count` times in one statement; returns its peak of private memory in bytes."""
    sql = f"""
        SELECT count(*) FROM generate_series(1, {count}) AS n
        JOIN items AS outer_row ON outer_row.id = mod(n, 1000)
        CROSS JOIN LATERAL (SELECT id FROM items ORDER BY embedding <-> outer_row.embedding LIMIT 3) AS nearest
    """
    # Any other join searches once for each row of the table, not for each number; compiling takes memory of its own.
    for setting in ("enable_mergejoin", "enable_hashjoin", "enable_memoize", "jit"):
        connection.execute(f"SET {setting} = off")
    plan = "\n".join(line for (line,) in connection.execute("EXPLAIN " + sql))
    assert "items_ivf" in plan, plan
    with PrivateMemory(connection.info.backend_pid) as memory:
        assert connection.execute(sql).fetchone() == (3 * count,)
    return memory.peak_bytes


@pytest.mark.parametrize("storage", items.STORAGES)
def test_memory_is_flat_over_ten_thousand_rescans(connection, storage):
    items.create_items(connection, items.uniform(5_000, 32))
    items.create_index(connection, 50, storage=storage)
    connection.execute("SET enable_seqscan = off")
    connection.execute("SET vectorgpu.probes = 2")
    warm = rescan(connection, 1_000)
    grown = rescan(connection, 10_000) - warm
    assert grown < GROWTH_LIMIT_BYTES, f"10,000 rescans took {grown:,} bytes more than 1,000"


def test_memory_is_flat_over_rescans_on_the_gpu(gpu_connection):
    items.create_items(gpu_connection, items.uniform(2_000, 32))
    items.create_index(gpu_connection, 20)
    gpu_connection.execute("SET enable_seqscan = off")
    gpu_connection.execute("SET vectorgpu.probes = 1")
    warm = rescan(gpu_connection, 100)
    grown = rescan(gpu_connection, 1_000) - warm
    # The driver's pools settle late; a buffer kept at each rescan would be far more.
    assert grown < 2 * GROWTH_LIMIT_BYTES, f"1,000 rescans took {grown:,} bytes more than 100"


def test_ten_thousand_separate_queries_leave_no_memory_behind(connection):
    items.create_items(connection, items.uniform(5_000, 32))
    items.create_index(connection, 50)
    connection.execute("SET enable_seqscan = off")
    text = items.vector_text(items.uniform(1, 32)[0])
    sql = f"""DO $$ BEGIN FOR i IN 1..%d LOOP
        PERFORM id FROM items ORDER BY embedding <-> '{text}' LIMIT 3; END LOOP; END $$"""
    peaks = []
    for count in (1_000, 10_000):
        with PrivateMemory(connection.info.backend_pid) as memory:
            connection.execute(sql % count)
        peaks.append(memory.peak_bytes)
    assert peaks[1] - peaks[0] < GROWTH_LIMIT_BYTES, f"10,000 queries took {peaks}"


def test_small_maintenance_memory_builds_or_says_what_it_needs(connection):
    items.create_items(connection, items.uniform(20_000, 64))
    connection.execute("SET maintenance_work_mem = '1MB'")
    try:
        items.create_index(connection, 500)
    except psycopg.errors.ProgramLimitExceeded as error:
        assert "maintenance_work_mem" in f"{error.diag.message_primary} {error.diag.message_hint}"
    else:
        assert items.verify(connection) == 20_000


def test_small_work_mem_still_answers_completely(connection):
    items.create_items(connection, items.uniform(20_000, 16))
    items.create_index(connection, 20)
    connection.execute("SET work_mem = '64kB'")
    assert items.indexed_ids(connection, 20) == list(range(20_000))
