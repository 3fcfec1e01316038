"""Searches for more queries than a GPU is given at once: it is at some parts while rows of others are handed out."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import items
import psycopg
import pytest
from conftest import use_gpu
from progress import Statement, wait_until

DIMS, LISTS = 16, 10
# Three parts on a GPU, one on the CPU.
QUERIES = 4_200
GPU = {"vectorgpu.device": "gpu", "vectorgpu.allow_software_gpu": "on"}
SEARCH = "SELECT s.* FROM queries, vectorgpu.search('items_ivf', vectors, %s, %s) s"
# Some 20 MB of rows.
LONG_SEARCH = "SELECT count(*) FROM queries, vectorgpu.search('items_ivf', vectors || vectors || vectors, 50, 4)"


@pytest.fixture
def many_queries(gpu_connection: psycopg.Connection) -> psycopg.Connection:
    """A table with an index, rows as near as others among them, and `queries`, of which some are the same."""
    rows = items.uniform(1_000, DIMS)
    rows[500:600] = rows[:100]
    items.create_items(gpu_connection, rows)
    items.create_index(gpu_connection, LISTS, storage="f32")
    gpu_connection.execute("DELETE FROM items WHERE mod(id, 7) = 0")
    queries = items.uniform(QUERIES, DIMS, seed=3)
    queries[2_500:2_600] = rows[:100]
    queries[4_000:4_100] = rows[:100]
    gpu_connection.execute(f"CREATE TABLE queries (vectors vector({DIMS})[])")
    text = "{" + ",".join(f'"{items.vector_text(query)}"' for query in queries) + "}"
    gpu_connection.execute("INSERT INTO queries VALUES (%s)", (text,))
    use_gpu(gpu_connection)
    return gpu_connection


def in_use(connection: psycopg.Connection) -> dict[str, int]:
    """GPU memory of searches that somebody still holds."""
    labels = ["vectorgpu.search", "vectorgpu.results"]
    sql = "SELECT label, bytes FROM vectorgpu.memory WHERE label = ANY(%s) AND bytes > 0"
    return dict(connection.execute(sql, (labels,)).fetchall())


def assert_works(connection: psycopg.Connection) -> None:
    """Searches go on on the GPU, and nothing is left of those before."""
    use_gpu(connection)
    assert len(connection.execute(SEARCH, (1, 1)).fetchall()) == QUERIES
    device = connection.execute("SELECT device FROM vectorgpu.last_scan()").fetchone()[0]
    assert not device.startswith("cpu")
    assert in_use(connection) == {}


def test_all_parts_find_what_each_query_finds_alone(many_queries, gpu_device):
    for k, probes in ((1, 1), (10, 3), (5, LISTS)):
        use_gpu(many_queries)
        on_gpu = many_queries.execute(SEARCH, (k, probes)).fetchall()
        assert many_queries.execute("SELECT device FROM vectorgpu.last_scan()").fetchone() == (gpu_device,)
        many_queries.execute("SET vectorgpu.device = 'cpu'")
        assert on_gpu == many_queries.execute(SEARCH, (k, probes)).fetchall()
    many_queries.execute("SET enable_seqscan = off")
    many_queries.execute("SET vectorgpu.probes = 3")
    alone = """
        SELECT numbered.query::int, rank::int, tid, distance FROM queries,
            unnest(vectors) WITH ORDINALITY AS numbered (vector, query),
            LATERAL (SELECT row_number() OVER () AS rank, nearest.* FROM (
                SELECT ctid AS tid, embedding <-> vector AS distance FROM items ORDER BY embedding <-> vector LIMIT 10
            ) nearest) ranked
    """
    # Rows that are equally near stand in any order.
    distances = [row[::3] for row in many_queries.execute(alone).fetchall()]
    use_gpu(many_queries)
    assert [row[::3] for row in many_queries.execute(SEARCH, (10, 3)).fetchall()] == distances
    assert in_use(many_queries) == {}


def test_parts_on_the_cpu_find_what_one_finds(many_queries):
    many_queries.execute("SET vectorgpu.device = 'cpu'")
    one = many_queries.execute(SEARCH, (3, 3)).fetchall()
    # Two parts, of which the first ends amid the last copy of the queries.
    copies = SEARCH.replace("vectors", " || ".join(["vectors"] * 4))
    four = many_queries.execute(copies, (3, 3)).fetchall()
    assert four == [(query + place * QUERIES, *row) for place in range(4) for query, *row in one]


@pytest.mark.parametrize("probes", [60, 100, 140])
def test_many_lists_are_chosen_as_on_the_cpu(gpu_connection, probes):
    items.create_items(gpu_connection, items.uniform(3_000, DIMS))
    items.create_index(gpu_connection, 150, storage="f32")
    gpu_connection.execute("CREATE TABLE queries AS SELECT array_agg(embedding) AS vectors FROM items WHERE id < 300")
    found = {}
    for device in ("gpu", "cpu"):
        gpu_connection.execute(f"SET vectorgpu.device = '{device}'")
        found[device] = gpu_connection.execute(SEARCH, (10, probes)).fetchall()
    # Rows that are equally near stand in any order.
    assert [row[::3] for row in found["gpu"]] == [row[::3] for row in found["cpu"]]


def test_threads_find_what_one_finds(many_queries):
    found = []
    for workers in (0, 1, 8):
        many_queries.execute(f"SET max_parallel_workers_per_gather = {workers}")
        found.append(many_queries.execute(SEARCH, (10, 3)).fetchall())
    assert found[0] == found[1] == found[2]


def test_a_join_finds_the_same_in_blocks_of_any_size(many_queries):
    join = "SELECT * FROM vectorgpu.knn_join('items', 'embedding', 'items_ivf', 5, 3)"
    found = []
    for settings in ({}, {"work_mem": "64kB"}, {"vectorgpu.device": "cpu"}):
        with many_queries.transaction():
            for name, value in settings.items():
                many_queries.execute("SELECT set_config(%s, %s, true)", (name, value))
            found.append(many_queries.execute(join).fetchall())
    assert found[0] == found[1] == found[2]


def test_an_error_while_parts_are_under_way_leaves_nothing(many_queries):
    many_queries.execute("SET work_mem = '64kB'")
    many_queries.execute("SET temp_file_limit = '1MB'")
    with pytest.raises(psycopg.errors.ConfigurationLimitExceeded):
        many_queries.execute(LONG_SEARCH)
    many_queries.execute("RESET temp_file_limit")
    assert_works(many_queries)
    for timeout_ms in (20, 150, 300, 600):
        many_queries.execute("SELECT set_config('statement_timeout', %s, false)", (f"{timeout_ms}ms",))
        with contextlib.suppress(psycopg.errors.QueryCanceled):
            many_queries.execute(LONG_SEARCH)
        many_queries.execute("RESET statement_timeout")
    assert_works(many_queries)


def start_long_search(dsn: str) -> Statement:
    """Starts the long search in a session of its own; returns when that has a GPU."""
    statement = Statement(dsn, LONG_SEARCH, GPU)
    statement.start()
    maps = Path(f"/proc/{statement.pid}/maps")
    wait_until(lambda: not statement.is_alive() or "libvulkan" in maps.read_text(), "a context", every_s=0.01)
    return statement


@pytest.mark.parametrize("function", ["pg_cancel_backend", "pg_terminate_backend"])
def test_a_session_is_stopped_while_parts_are_under_way(many_queries, database, function):
    for wait_s in (0, 0.2, 0.5, 1.0):
        statement = start_long_search(database)
        time.sleep(wait_s)
        many_queries.execute(f"SELECT {function}(%s)", (statement.pid,))
        statement.join(timeout=30)
        assert not statement.is_alive()
        if function == "pg_cancel_backend":
            assert statement.error is None or isinstance(statement.error, psycopg.errors.QueryCanceled)
            assert_works(statement.connection)
        statement.finish()
        wait_until(lambda pid=statement.pid: not Path(f"/proc/{pid}").exists(), "exit of the backend", every_s=0.05)
        assert many_queries.execute("SELECT 1").fetchone() == (1,)
    assert_works(many_queries)
