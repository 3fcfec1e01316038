"""vectorgpu.exact_search on a GPU: exactly the answers of the CPU, memory that is given back, errors that are clean."""

from __future__ import annotations

import threading
import time

import items
import numpy as np
import psycopg
import pytest
from conftest import use_gpu
from items import METRICS
from vectors import vector_text

NAMES = {"l2": "l2", "ip": "inner_product", "cosine": "cosine"}
# Most rows of each query that a GPU is asked for.
K_MAX = 58


def found(connection: psycopg.Connection, queries: np.ndarray, k: int = 10, metric: str = "l2") -> list[tuple]:
    """Every column of every row that vectorgpu.exact_search returns; distances as text, so that NaN equals itself."""
    return connection.execute(
        "SELECT query, rank, tid, distance::text"
        " FROM vectorgpu.exact_search('items', 'embedding', %s::vector[], %s, %s)",
        ([vector_text(query) for query in queries], k, NAMES[metric]),
    ).fetchall()


def runs(connection: psycopg.Connection, device: str) -> int:
    """How many passes of exact searches this session has made on a device."""
    sql = "SELECT coalesce(sum(runs), 0) FROM vectorgpu.estimates WHERE job = 'exact_search' AND device = %s"
    return connection.execute(sql, (device,)).fetchone()[0]


def assert_as_on_the_cpu(connection: psycopg.Connection, queries: np.ndarray, k: int, metric: str = "l2") -> None:
    """Asserts that the GPU, which the connection uses, is used and finds what the CPU finds, to the last bit."""
    before = runs(connection, "gpu")
    on_gpu = found(connection, queries, k, metric)
    assert runs(connection, "gpu") > before
    connection.execute("SET vectorgpu.device = 'cpu'")
    assert on_gpu == found(connection, queries, k, metric)
    use_gpu(connection)


def held(connection: psycopg.Connection) -> int:
    """Bytes of GPU memory that exact searches hold in this session."""
    sql = "SELECT coalesce(sum(bytes), 0) FROM vectorgpu.memory WHERE label = 'vectorgpu.exact_search'"
    return connection.execute(sql).fetchone()[0]


def peak(connection: psycopg.Connection) -> int:
    """Most bytes that they held."""
    sql = "SELECT coalesce(sum(peak_bytes), 0) FROM vectorgpu.memory WHERE label = 'vectorgpu.exact_search'"
    return connection.execute(sql).fetchone()[0]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dims", [3, 100])
def test_a_gpu_finds_exactly_what_the_cpu_finds(gpu_connection, metric, dims):
    rows = items.uniform(5_000, dims)
    # Zeros, equal rows, and rows closer together than their copies on the GPU tell.
    rows[::50] = 0
    rows[1::9] = np.round(rows[1::9])
    rows[2:400:2] = rows[1] * (1 + np.arange(199, dtype=np.float32)[:, None] * 1e-7)
    items.create_items(gpu_connection, rows)
    gpu_connection.execute("INSERT INTO items VALUES (5000, NULL)")
    queries = np.concatenate([items.uniform(150, dims, seed=2), rows[:5], rows[2:4] * 1e30])
    for k in (1, 10, K_MAX):
        assert_as_on_the_cpu(gpu_connection, queries, k, metric)
    assert peak(gpu_connection) > 0 == held(gpu_connection)


def test_a_table_of_several_blocks_and_queries_in_several_passes(gpu_connection):
    # 4 MB of the limit are a block's, up to whole tens of rows.
    gpu_connection.execute("SET vectorgpu.vram_limit = '16MB'")
    gpu_connection.execute("SET vectorgpu.staging_size = '1MB'")
    items.create_items(gpu_connection, items.uniform(40_000, 64))
    queries = items.uniform(200, 64, seed=2)
    assert_as_on_the_cpu(gpu_connection, queries, 10)
    assert 2 << 20 < peak(gpu_connection) <= 4 << 20 | 1 << 14
    gpu_connection.execute("SET work_mem = '64kB'")
    passes = runs(gpu_connection, "gpu")
    assert_as_on_the_cpu(gpu_connection, queries[:150], 50)
    assert runs(gpu_connection, "gpu") == passes + 2
    assert held(gpu_connection) == 0


def test_tables_that_are_smaller_than_the_answer_or_empty(gpu_connection):
    items.create_items(gpu_connection, items.uniform(7, 8))
    queries = items.uniform(3, 8, seed=2)
    assert_as_on_the_cpu(gpu_connection, queries, 10)
    gpu_connection.execute("DELETE FROM items")
    assert found(gpu_connection, queries) == []


def test_more_rows_than_a_gpu_is_asked_for_are_found_on_the_cpu(gpu_connection):
    items.create_items(gpu_connection, items.uniform(200, 8))
    assert len(found(gpu_connection, items.uniform(2, 8, seed=2), K_MAX + 1)) == 2 * (K_MAX + 1)
    assert (runs(gpu_connection, "gpu"), runs(gpu_connection, "cpu")) == (0, 1)


def test_a_search_on_the_gpu_can_be_cancelled_at_once(gpu_connection):
    items.create_items(gpu_connection, items.uniform(30_000, 128))
    # Again and again, for the fastest of GPUs.
    search = """
        SELECT count(*) FROM generate_series(1, 100000) n CROSS JOIN LATERAL vectorgpu.exact_search(
            'items', 'embedding', (SELECT array_agg(embedding) FROM items WHERE id <> -n), 9)
    """
    # What is compiled at first use is compiled now.
    found(gpu_connection, items.uniform(200, 128))
    for seconds in (0.7, 1.5):
        threading.Timer(seconds, gpu_connection.cancel).start()
        started = time.monotonic()
        with pytest.raises(psycopg.errors.QueryCanceled):
            gpu_connection.execute(search)
        assert time.monotonic() - started < seconds + 1.0
        assert held(gpu_connection) == 0
    assert_as_on_the_cpu(gpu_connection, items.uniform(20, 128), 5)


def test_what_does_not_fit_into_gpu_memory_is_a_clean_error_of_a_forced_gpu(gpu_connection):
    items.create_items(gpu_connection, items.uniform(200, 16_000))
    gpu_connection.execute("SET vectorgpu.vram_limit = '16MB'")
    gpu_connection.execute("SET vectorgpu.staging_size = '1MB'")
    queries = items.uniform(200, 16_000, seed=2)
    with pytest.raises(psycopg.errors.OutOfMemory, match="GPU memory limit"):
        found(gpu_connection, queries)
    assert held(gpu_connection) == 0
    # Few queries fit.
    assert_as_on_the_cpu(gpu_connection, queries[:3], 5)


def test_copies_of_an_index_that_fill_the_limit_make_room(gpu_connection):
    gpu_connection.execute("SET vectorgpu.vram_limit = '16MB'")
    gpu_connection.execute("SET vectorgpu.staging_size = '1MB'")
    items.create_items(gpu_connection, items.uniform(50_000, 128))
    items.create_index(gpu_connection, 100, storage="f16")
    use_gpu(gpu_connection)
    gpu_connection.execute("SELECT vectorgpu.prewarm('items_ivf')")
    assert_as_on_the_cpu(gpu_connection, items.uniform(200, 128, seed=2), 10)
    used, limit = gpu_connection.execute("SELECT vram_peak_bytes, vram_limit_bytes FROM vectorgpu.stats").fetchone()
    assert used <= limit


def test_an_error_in_the_middle_of_a_table_gives_the_memory_back(gpu_connection):
    gpu_connection.execute("SET vectorgpu.vram_limit = '16MB'")
    gpu_connection.execute("SET vectorgpu.staging_size = '1MB'")
    items.create_items(gpu_connection, items.uniform(40_000, 64))
    gpu_connection.execute("ALTER TABLE items ALTER COLUMN embedding TYPE vector")
    gpu_connection.execute("INSERT INTO items VALUES (50000, '[1,2]')")
    with pytest.raises(psycopg.errors.DataException):
        found(gpu_connection, items.uniform(10, 64, seed=2))
    assert peak(gpu_connection) > 0 == held(gpu_connection)
