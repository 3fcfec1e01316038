"""The GPU path and its life: equal answers, cancel, terminate, exit, parallel workers, and no Vulkan at all."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import items
import numpy as np
import psycopg
import pytest
from cluster import Cluster
from conftest import use_gpu
from items import METRICS, Scan
from progress import Statement, wait_for_build, wait_for_no_workers, wait_until

GPU = {"vectorgpu.device": "gpu", "vectorgpu.allow_software_gpu": "on", "enable_seqscan": "off"}

# Cancel is promised in under 100 ms; a loaded two-core machine that also plays the GPU gets more.
CANCEL_LIMIT_S = 2.0

# A nested loop of searches that would run for minutes: each depends on n, so no plan can do with one for each item.
LONG_SEARCH = """
    SELECT count(*) FROM generate_series(1, 1000000) AS n
    JOIN items AS outer_row ON outer_row.id = mod(n, 1000)
    CROSS JOIN LATERAL
        (SELECT id FROM items WHERE id <> -n ORDER BY embedding <-> outer_row.embedding LIMIT 3) AS nearest
"""
# Lists enough to keep k-means busy for seconds on either device.
LONG_BUILD_LISTS = {"cpu": 8_000, "gpu": 1_000}
LONG_BUILD = "CREATE INDEX items_ivf ON items USING ivf (embedding vector_l2_ops) WITH (lists = {lists})"


def last_device(connection: psycopg.Connection) -> str:
    """What ran the last scan of this session."""
    return connection.execute("SELECT device FROM vectorgpu.last_scan()").fetchone()[0]


@pytest.mark.parametrize("storage", items.STORAGES)
@pytest.mark.parametrize("metric", METRICS)
def test_gpu_and_cpu_give_equal_answers(gpu_connection, gpu_device, metric, storage):
    items.create_items(gpu_connection, items.uniform(5_000, 48) - 0.5)
    items.create_index(gpu_connection, 40, metric, storage)
    for query in items.uniform(5, 48, seed=6) - 0.5:
        for probes in (1, 7, 40):
            scan = Scan(metric, probes, limit=20)
            use_gpu(gpu_connection)
            on_gpu = items.through_index(gpu_connection, query, scan)
            assert last_device(gpu_connection) == gpu_device
            gpu_connection.execute("SET vectorgpu.device = 'cpu'")
            on_cpu = items.through_index(gpu_connection, query, scan)
            assert last_device(gpu_connection) != gpu_device
            items.assert_same_answer(on_gpu, on_cpu)


def test_index_built_on_the_gpu_holds_every_row_and_finds_as_much(gpu_connection):
    rows = items.uniform(10_000, 16)
    items.create_items(gpu_connection, rows)
    queries = items.uniform(20, 16, seed=5)
    found = {}
    for device in ("cpu", "gpu"):
        gpu_connection.execute(f"SET vectorgpu.device = '{device}'")
        items.create_index(gpu_connection, 50, storage="f32")
        assert items.verify(gpu_connection) == len(rows)
        gpu_connection.execute("SET vectorgpu.device = 'cpu'")
        found[device] = items.recall(gpu_connection, queries, Scan(probes=5))
        gpu_connection.execute("DROP INDEX items_ivf")
    assert abs(found["gpu"] - found["cpu"]) < 0.05, found


def stats(connection: psycopg.Connection) -> dict[str, object]:
    """The session's row of vectorgpu.stats."""
    with connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        return cursor.execute("SELECT * FROM vectorgpu.stats").fetchone()


def search_on_gpu(connection: psycopg.Connection) -> None:
    """One search through an index on the GPU."""
    items.create_items(connection, items.uniform(2_000, 32))
    items.create_index(connection, 10, storage="f32")
    use_gpu(connection)
    items.through_index(connection, items.uniform(1, 32)[0], Scan(probes=10))


def test_stats_and_memory_show_what_the_session_did(gpu_connection, gpu_device):
    gpu_connection.execute("SET vectorgpu.device = 'cpu'")
    before = stats(gpu_connection)
    assert before["device"] is None and before["engines_opened"] == 0 and before["dispatches"] == 0
    assert gpu_connection.execute("SELECT count(*) FROM vectorgpu.memory").fetchone()[0] == 0
    search_on_gpu(gpu_connection)
    after = stats(gpu_connection)
    assert after["device"] == gpu_device and after["engines_opened"] == 1 and after["engines_lost"] == 0
    assert after["dispatches"] >= 1 and after["submissions"] >= 1 and after["waits"] >= 1
    assert after["bytes_up"] >= 2_000 * 32 * 4 and after["bytes_down"] >= 2_000 * 4
    assert after["pipelines_compiled"] >= 1 and after["compile_ms"] > 0
    assert 0 < after["vram_used_bytes"] <= after["vram_peak_bytes"] <= after["vram_limit_bytes"]
    charged = gpu_connection.execute("SELECT sum(bytes) FROM vectorgpu.memory").fetchone()[0]
    assert charged == after["vram_used_bytes"]


def test_stats_go_on_when_another_engine_is_opened(gpu_connection):
    search_on_gpu(gpu_connection)
    first = stats(gpu_connection)
    gpu_connection.execute("SET vectorgpu.vram_limit = '64MB'")
    items.through_index(gpu_connection, items.uniform(1, 32)[0], Scan(probes=10))
    second = stats(gpu_connection)
    assert second["engines_opened"] == first["engines_opened"] + 1
    assert second["dispatches"] > first["dispatches"]
    assert second["vram_limit_bytes"] == 64 << 20


def test_kernel_times_are_measured_only_while_profiling(gpu_connection):
    search_on_gpu(gpu_connection)
    times = "SELECT kernel, dispatches, total_ms, longest_ms FROM vectorgpu.kernel_times"
    assert gpu_connection.execute(times).fetchall() == []
    gpu_connection.execute("SET vectorgpu.profile = on")
    items.through_index(gpu_connection, items.uniform(1, 32)[0], Scan(probes=10))
    rows = {kernel: rest for kernel, *rest in gpu_connection.execute(times).fetchall()}
    assert {"list_scan", "top_few", "list_fetch"} <= rows.keys()
    assert all(dispatches >= 1 and 0 < longest <= total for dispatches, total, longest in rows.values())


def test_an_adapter_can_be_chosen_by_its_index(gpu_connection, gpu_device):
    search_on_gpu(gpu_connection)
    index, features = gpu_connection.execute(
        "SELECT index, features FROM vectorgpu.devices() WHERE selected AND name = %s", (gpu_device,)
    ).fetchone()
    assert isinstance(features, list)
    gpu_connection.execute(f"SET vectorgpu.device = '{index}'")
    items.through_index(gpu_connection, items.uniform(1, 32)[0], Scan(probes=10))
    assert last_device(gpu_connection) == gpu_device
    gpu_connection.execute("SET vectorgpu.device = '99'")
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="no Vulkan adapter 99"):
        items.through_index(gpu_connection, items.uniform(1, 32)[0], Scan(probes=10))


def test_compiled_kernels_are_kept_in_the_data_directory_for_the_owner_alone(gpu_connection):
    folder = Path(gpu_connection.execute("SHOW data_directory").fetchone()[0]) / "vectorgpu"
    gpu_connection.execute("SET vectorgpu.pipeline_cache = off")
    search_on_gpu(gpu_connection)
    gpu_connection.execute("SET vectorgpu.pipeline_cache = on")
    items.through_index(gpu_connection, items.uniform(1, 32)[0], Scan(probes=10))
    backend = gpu_connection.info.backend_pid
    gpu_connection.close()
    wait_until(lambda: not Path(f"/proc/{backend}").exists(), "exit of the backend", every_s=0.05)
    files = list(folder.iterdir())
    assert files and all(file.stat().st_mode & 0o077 == 0 for file in files), files


@pytest.fixture
def busy_table(gpu_connection: psycopg.Connection) -> psycopg.Connection:
    """A table that a search or a build on the GPU is busy with for a while."""
    items.create_items(gpu_connection, items.uniform(30_000, 128))
    return gpu_connection


def start_search(
    connection: psycopg.Connection, dsn: str, settings: dict[str, str] | None = None, wait_s: float = 1.0
) -> Statement:
    """Builds the index on the CPU and starts the long search on the GPU; returns when it is under way."""
    connection.execute("SET vectorgpu.device = 'cpu'")
    items.create_index(connection, 20, storage="f32")
    statement = Statement(dsn, LONG_SEARCH, GPU | (settings or {}))
    statement.start()
    maps = Path(f"/proc/{statement.pid}/maps")
    wait_until(lambda: not statement.is_alive() or "libvulkan" in maps.read_text(), "a context", every_s=0.05)
    time.sleep(wait_s)
    assert statement.is_alive(), f"the search is over: {statement.error}"
    return statement


def test_cancel_takes_effect_in_a_gpu_search(busy_table, database):
    statement = start_search(busy_table, database)
    started = time.monotonic()
    busy_table.execute("SELECT pg_cancel_backend(%s)", (statement.pid,))
    statement.join(timeout=30)
    assert isinstance(statement.error, psycopg.errors.QueryCanceled)
    assert statement.ended_at - started < CANCEL_LIMIT_S
    # The session and its context go on.
    rows = items.through_index(statement.connection, items.uniform(1, 128)[0], Scan())
    assert len(rows) == 10
    statement.finish()


def test_pg_stat_activity_shows_waits_for_the_gpu(busy_table, database):
    statement = start_search(busy_table, database)
    sql = "SELECT wait_event_type, wait_event FROM pg_stat_activity WHERE pid = %s"

    def waits_for(kind: str, name: str) -> bool:
        return busy_table.execute(sql, (statement.pid,)).fetchone() == (kind, name)

    wait_until(lambda: waits_for("Extension", "Extension"), "a wait for the GPU", every_s=0.001)
    busy_table.execute("SELECT pg_cancel_backend(%s)", (statement.pid,))
    statement.join(timeout=30)
    wait_until(lambda: waits_for("Client", "ClientRead"), "a wait for the client")
    statement.finish()


@pytest.mark.parametrize("function", ["pg_cancel_backend", "pg_terminate_backend"])
def test_a_session_that_leaves_while_the_gpu_is_busy_takes_no_other_along(busy_table, database, function):
    """The driver's threads work on while the process ends; one that crashed would restart the server."""
    for attempt in range(4):
        busy_table.execute("DROP INDEX IF EXISTS items_ivf")
        statement = start_search(busy_table, database, wait_s=0.1 * attempt)
        busy_table.execute(f"SELECT {function}(%s)", (statement.pid,))
        assert statement.finish() is not None
        wait_until(lambda pid=statement.pid: not Path(f"/proc/{pid}").exists(), "exit of the backend", every_s=0.05)
        assert busy_table.execute("SELECT 1").fetchone() == (1,)


def test_statement_timeout_takes_effect_in_a_gpu_search(busy_table, database):
    statement = start_search(busy_table, database, {"statement_timeout": "3000"})
    assert isinstance(statement.finish(), psycopg.errors.QueryCanceled)


def test_terminate_takes_effect_in_a_gpu_search(busy_table, database):
    statement = start_search(busy_table, database)
    started = time.monotonic()
    busy_table.execute("SELECT pg_terminate_backend(%s)", (statement.pid,))
    assert isinstance(statement.finish(), psycopg.errors.AdminShutdown)
    assert statement.ended_at - started < CANCEL_LIMIT_S
    wait_until(lambda: not Path(f"/proc/{statement.pid}").exists(), "exit of the backend", every_s=0.05)


def assert_interrupted(watcher: psycopg.Connection, build: Statement, function: str) -> None:
    """Stops an index build, and asserts that it ends in time and leaves no index."""
    started = time.monotonic()
    watcher.execute(f"SELECT {function}(%s)", (build.pid,))
    error = build.finish()
    expected = psycopg.errors.QueryCanceled if "cancel" in function else psycopg.errors.AdminShutdown
    assert isinstance(error, expected), f"the build was not interrupted: {error}"
    assert build.ended_at - started < CANCEL_LIMIT_S
    assert watcher.execute("SELECT to_regclass('items_ivf')").fetchone() == (None,)


@pytest.mark.parametrize("function", ["pg_cancel_backend", "pg_terminate_backend"])
@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_interrupted_build_leaves_nothing_and_can_be_repeated(busy_table, database, device, function):
    ddl = LONG_BUILD.format(lists=LONG_BUILD_LISTS[device])
    build = Statement(database, ddl, GPU | {"vectorgpu.device": device})
    build.start()
    wait_for_build(busy_table, build, "k-means")
    assert_interrupted(busy_table, build, function)
    busy_table.execute("SET vectorgpu.device = 'cpu'")
    items.create_index(busy_table, 20, storage="f32")
    assert items.verify(busy_table) == 30_000


def test_error_in_the_middle_leaves_the_context_usable(gpu_connection):
    items.create_items(gpu_connection, items.uniform(2_000, 16))
    items.create_index(gpu_connection, 20, storage="f32")
    gpu_connection.execute("SET enable_seqscan = off")
    text = items.vector_text(items.uniform(1, 16)[0])
    for _ in range(5):
        with pytest.raises(psycopg.errors.DivisionByZero):
            gpu_connection.execute(
                f"SELECT 1 / (id - id) FROM items ORDER BY embedding <-> '{text}' LIMIT 5"
            ).fetchall()
        assert len(items.through_index(gpu_connection, items.uniform(1, 16)[0], Scan())) == 10


def test_backend_with_a_live_context_exits_at_once(gpu_connection, database):
    items.create_items(gpu_connection, items.uniform(2_000, 16))
    items.create_index(gpu_connection, 20, storage="f32")
    for _ in range(5):
        client = psycopg.connect(database, autocommit=True)
        use_gpu(client)
        items.through_index(client, items.uniform(1, 16)[0], Scan())
        pid = client.info.backend_pid
        client.close()
        wait_until(lambda pid=pid: not Path(f"/proc/{pid}").exists(), "exit of the backend", every_s=0.05)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_server_stops_in_time_with_live_contexts(make_cluster, gpu_device, mode):
    cluster = make_cluster()
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vectorgpu")
        items.create_items(connection, items.uniform(2_000, 16))
        items.create_index(connection, 20, storage="f32")
        use_gpu(connection)
        items.through_index(connection, items.uniform(1, 16)[0], Scan())
        started = time.monotonic()
        cluster.stop(mode)
        assert time.monotonic() - started < 15


def maps_of(pid: int) -> str:
    """The files that a process has mapped; empty once it is gone."""
    try:
        return Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return ""


# Slots for rows are part of the memory: so little that each worker fills many.
HANDING_OVER = {
    "max_parallel_maintenance_workers": "2",
    "min_parallel_table_scan_size": "0",
    "maintenance_work_mem": "96MB",
}


@pytest.mark.parametrize("storage", ["f32", "rabitq"])
def test_workers_hand_their_rows_to_the_leaders_gpu(busy_table, storage):
    busy_table.execute("ALTER TABLE items SET (parallel_workers = 2)")
    messages = []
    busy_table.add_notice_handler(lambda diagnostic: messages.append(diagnostic.message_primary))
    for name, value in HANDING_OVER.items():
        busy_table.execute("SELECT set_config(%s, %s, false)", (name, value))
    use_gpu(busy_table)
    busy_table.execute("SET client_min_messages = debug1")
    items.create_index(busy_table, 100, storage=storage)
    busy_table.execute("RESET client_min_messages")
    assert "using 2 parallel workers" in messages
    found = [int(words[3]) for words in map(str.split, messages) if words[:3] == ["found", "lists", "for"]]
    assert len(found) == 1 and 0 < found[0] < 30_000
    assert items.verify(busy_table) == 30_000
    together = items.pages(busy_table)
    busy_table.execute("DROP INDEX items_ivf")
    busy_table.execute("SET max_parallel_maintenance_workers = 0")
    items.create_index(busy_table, 100, storage=storage)
    assert np.array_equal(together, items.pages(busy_table))


@pytest.mark.parametrize("function", ["pg_cancel_backend", "pg_terminate_backend"])
def test_interrupted_build_with_workers_that_hand_rows_over_leaves_nothing(busy_table, database, function):
    busy_table.execute("INSERT INTO items SELECT id + 30000 * n, embedding FROM items, generate_series(1, 3) AS n")
    busy_table.execute("ALTER TABLE items SET (parallel_workers = 2)")
    build = Statement(database, LONG_BUILD.format(lists=200), GPU | HANDING_OVER)
    build.start()
    wait_for_build(busy_table, build, "assigning rows")
    assert_interrupted(busy_table, build, function)
    wait_for_no_workers(busy_table)


def test_parallel_build_workers_stay_on_the_cpu(busy_table, database):
    settings = GPU | {"max_parallel_maintenance_workers": "2", "min_parallel_table_scan_size": "0"}
    build = Statement(database, LONG_BUILD.format(lists=100), settings)
    build.start()
    workers: dict[int, str] = {}
    query = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'parallel worker' AND leader_pid = %s"
    while build.is_alive():
        for (pid,) in busy_table.execute(query, (build.pid,)).fetchall():
            workers[pid] = workers.get(pid, "") + maps_of(pid)
    assert build.finish() is None
    assert workers, "no parallel worker took part in the build"
    assert not [pid for pid, files in workers.items() if "libvulkan" in files]


def test_forced_parallel_query_stays_on_the_cpu_and_agrees(gpu_connection):
    items.create_items(gpu_connection, items.uniform(5_000, 16))
    items.create_index(gpu_connection, 20, storage="f32")
    query = items.uniform(1, 16)[0]
    expected = items.through_index(gpu_connection, query, Scan())
    gpu_connection.execute("SET force_parallel_mode = on")
    assert items.through_index(gpu_connection, query, Scan()) == expected


def test_postmaster_never_loads_vulkan(gpu_connection, shared_cluster: Cluster):
    items.create_items(gpu_connection, items.uniform(2_000, 16))
    items.create_index(gpu_connection, 20, storage="f32")
    items.through_index(gpu_connection, items.uniform(1, 16)[0], Scan())
    postmaster = int((shared_cluster.data / "postmaster.pid").read_text().splitlines()[0])
    assert "libvulkan" in maps_of(gpu_connection.info.backend_pid)
    assert "libvulkan" not in maps_of(postmaster)


@pytest.fixture(params=["driver", "loader"])
def no_vulkan(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """An environment in which there is no Vulkan driver, or no Vulkan loader."""
    if request.param == "driver":
        yield {"VK_DRIVER_FILES": "/nonexistent", "VK_ICD_FILENAMES": "/nonexistent"}
        return
    # The dynamic linker takes the first file of this name and refuses it, as if there were none. Not in pytest's
    # temporary folder, which the server's account cannot enter.
    with tempfile.TemporaryDirectory(prefix="vectorgpu-", dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        for name in ("libvulkan.so.1", "libvulkan.so"):
            Path(folder, name).write_bytes(b"")
        yield {"LD_LIBRARY_PATH": folder}


def test_without_vulkan_everything_runs_on_the_cpu_and_says_little(make_cluster, no_vulkan):
    cluster = make_cluster({"vectorgpu.device": "auto"}, no_vulkan)
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vectorgpu")
        assert connection.execute("SELECT count(*) FROM vectorgpu.devices()").fetchone()[0] <= 1
        connection.execute("SET vectorgpu.allow_software_gpu = on")
        items.create_items(connection, items.uniform(5_000, 32))
        items.create_index(connection, 20, storage="f32")
        for query in items.uniform(30, 32):
            scan = Scan(probes=20)
            items.assert_same_answer(items.through_index(connection, query, scan), items.exact(connection, query, scan))
        assert last_device(connection).startswith("cpu")
        connection.execute("SET vectorgpu.device = 'gpu'")
        with pytest.raises(psycopg.errors.FeatureNotSupported):
            items.through_index(connection, items.uniform(1, 32)[0], Scan())
        assert connection.execute("SELECT 1").fetchone() == (1,)
    warnings = [line for line in cluster.log_text().splitlines() if "WARNING" in line]
    assert len(warnings) <= 1, warnings
