"""vectorgpu.device = auto: measured rates decide, times that work took correct them, and a GPU has to pay off."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import items
import psycopg
import pytest
from cluster import Cluster
from conftest import new_cluster, put_away, use_gpu
from items import Scan
from test_standby import start_standby

ROWS, DIMS, LISTS = 20_000, 32, 20
# A scan of all lists takes the CPU about 1.2 ms by these; everything is free on such a GPU.
FAST = {
    "cpu_multiply_adds_per_s": 40e9,
    "gpu_start_s": 1e-9,
    "gpu_search_s": 1e-9,
    "gpu_scan_bytes_per_s": 1e18,
    "gpu_copy_bytes_per_s": 1e18,
    "gpu_upload_bytes_per_s": 1e18,
    "gpu_multiply_adds_per_s": 1e18,
}
# Whatever the other tests run on.
AUTO = {"vectorgpu.device": "auto"}
LAST = "SELECT device, why, lists_copied, estimated_cpu_us, estimated_gpu_us FROM vectorgpu.last_scan()"

Auto = Callable[..., psycopg.Connection]


@pytest.fixture(scope="module")
def calibrated(bindir: Path, gpu_device: str) -> Iterator[Cluster]:
    """A server that has measured the machine, and has a table with an index."""
    cluster = new_cluster(bindir, "policy", AUTO, {})
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vectorgpu")
        items.create_items(connection, items.uniform(ROWS, DIMS))
        items.create_index(connection, LISTS, storage="f32")
        use_gpu(connection)
        assert connection.execute("SELECT adapter FROM vectorgpu.calibration").fetchall() == []
        (adapter,) = connection.execute("SELECT adapter FROM vectorgpu.calibrate()").fetchone()
        assert adapter.startswith(gpu_device)
    yield cluster
    died = cluster.died_backends()
    put_away(cluster, "policy")
    assert not died, f"backends died: {died}"


@pytest.fixture
def auto(calibrated: Cluster) -> Iterator[Auto]:
    """`auto(name=value, ...)`: a session under auto on a machine with the rates of FAST, but for those given."""
    connections = []
    path = calibration_file(calibrated)
    measured = path.read_text()

    def connect(**rates: float) -> psycopg.Connection:
        path.write_text(json.dumps(json.loads(measured) | FAST | rates))
        connection = psycopg.connect(calibrated.dsn(), autocommit=True)
        connections.append(connection)
        connection.execute("SET vectorgpu.allow_software_gpu = on")
        return connection

    yield connect
    path.write_text(measured)
    for connection in connections:
        connection.close()


def calibration_file(cluster: Cluster) -> Path:
    """Where a server keeps what it measured."""
    return cluster.data / "vectorgpu" / "calibration.json"


def scan(connection: psycopg.Connection, seed: int = 3, probes: int = LISTS) -> tuple[str, str]:
    """Searches, and returns which device did it and why."""
    items.through_index(connection, items.uniform(1, DIMS, seed=seed)[0], Scan(probes=probes))
    device, why, *_ = connection.execute(LAST).fetchone()
    return ("cpu" if device.startswith("cpu") else "gpu"), why


def entries(connection: psycopg.Connection) -> dict[tuple[str, str], tuple[int, float, float, float]]:
    """vectorgpu.estimates by job and device."""
    rows = connection.execute("SELECT * FROM vectorgpu.estimates").fetchall()
    return {(job, device): tuple(rest) for job, device, *rest in rows}


def test_rates_are_measured_once_and_kept_for_all_sessions(calibrated, gpu_device):
    path = calibration_file(calibrated)
    assert path.stat().st_mode & 0o077 == 0
    with psycopg.connect(calibrated.dsn(), autocommit=True) as connection:
        (row,) = connection.execute("SELECT * FROM vectorgpu.calibration").fetchall()
        cpu, adapter, *rates = row
        assert adapter.startswith(gpu_device) and "cpu" in cpu
        assert all(0 < rate < float("inf") for rate in rates)
    before = path.stat().st_mtime_ns
    with psycopg.connect(calibrated.dsn(), autocommit=True) as connection:
        connection.execute("SET vectorgpu.allow_software_gpu = on")
        scan(connection)
        assert path.stat().st_mtime_ns == before


def test_only_who_may_measures_anew(calibrated):
    with psycopg.connect(calibrated.dsn(), autocommit=True) as connection:
        connection.execute("CREATE ROLE reader")
        connection.execute("SET ROLE reader")
        try:
            assert connection.execute("SELECT count(*) FROM vectorgpu.calibration").fetchone() == (1,)
            assert connection.execute("SELECT count(*) FROM vectorgpu.estimates").fetchone() is not None
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("SELECT * FROM vectorgpu.calibrate()")
        finally:
            connection.execute("RESET ROLE")
            connection.execute("DROP ROLE reader")


@pytest.mark.parametrize("damage", ["cut", "foreign", "version", "rate", "type", "large", "link"])
def test_a_file_that_is_not_this_machines_is_not_used(auto, calibrated, damage):
    auto().close()
    path = calibration_file(calibrated)
    text = path.read_text()
    changes = {
        "cut": text[: len(text) // 2],
        "foreign": json.dumps(json.loads(text) | {"cpu": "another"}),
        "version": json.dumps(json.loads(text) | {"version": 999}),
        "rate": json.dumps(json.loads(text) | {"gpu_search_s": -1.0}),
        "type": json.dumps(json.loads(text) | {"gpu_search_s": "fast"}),
        "large": text + " " * 100_000,
    }
    if damage == "link":
        path.rename(path.with_suffix(".other"))
        path.symlink_to(path.with_suffix(".other"))
    else:
        path.write_text(changes[damage])
    try:
        with psycopg.connect(calibrated.dsn(), autocommit=True) as connection:
            assert connection.execute("SELECT count(*) FROM vectorgpu.calibration").fetchone() == (0,)
            assert scan(connection)[0] == "cpu"
    finally:
        if damage == "link":
            path.unlink()
            path.with_suffix(".other").rename(path)


def test_a_gpu_that_pays_at_once_is_used_and_finds_what_the_cpu_finds(auto):
    connection = auto()
    for seed in range(3):
        query = items.uniform(1, DIMS, seed=seed)[0]
        found = items.through_index(connection, query, Scan(probes=5))
        device, why, copied, estimated_cpu, estimated_gpu = connection.execute(LAST).fetchone()
        assert not device.startswith("cpu") and "estimated to be faster" in why
        assert copied > 0 or seed > 0
        assert estimated_cpu > 100 > estimated_gpu > 0
        connection.execute("SET vectorgpu.device = cpu")
        items.assert_same_answer(found, items.through_index(connection, query, Scan(probes=5)))
        connection.execute("SET vectorgpu.device = auto")
    booked = entries(connection)
    assert booked["scan", "gpu"][0] == booked["scan", "cpu"][0] == 3
    assert all(estimate > 0 for entry in booked.values() for estimate in entry[1:])


def test_a_gpu_that_is_slower_is_not_used_though_it_has_the_lists(auto):
    connection = auto(gpu_search_s=10.0)
    connection.execute("SELECT * FROM vectorgpu.prewarm('items_ivf')")
    assert scan(connection) == ("cpu", "the CPU is estimated to be faster")
    assert entries(connection)["scan", "cpu"][2] > 10_000


def test_a_gpu_that_turns_out_slower_than_estimated_is_left(auto):
    connection = auto()
    devices = [scan(connection, seed)[0] for seed in range(200)]
    # Where it is really faster, as on a GPU of silicon, it may stay.
    (took_ms,) = connection.execute("SELECT actual_ms / runs FROM vectorgpu.estimates WHERE device = 'gpu'").fetchone()
    if took_ms > 5:
        assert "cpu" in devices
    assert devices[0] == "gpu"


def test_opening_and_copying_have_to_be_earned(auto):
    # 2.56 MB of vectors: 10 ms, about eight searches.
    connection = auto(gpu_copy_bytes_per_s=256e6)
    assert scan(connection, probes=LISTS) == ("cpu", "opening and filling a GPU would not have paid off yet")
    devices = [scan(connection, seed)[0] for seed in range(200)]
    assert "gpu" in devices and devices[0] == "cpu"
    # What it would take to open one is never saved.
    connection = auto(gpu_start_s=1e9)
    assert {scan(connection, seed)[0] for seed in range(20)} == {"cpu"}
    assert connection.execute("SELECT engines_opened FROM vectorgpu.stats").fetchone() == (0,)


# 500 queries of 20,000 rows: 25 ms of the CPU by the rates of FAST.
EXACT = """
    SELECT query, rank, tid, distance FROM vectorgpu.exact_search(
        'items', 'embedding', ARRAY(SELECT embedding FROM items WHERE id < 500 ORDER BY id), 5)
"""


def exact_search(connection: psycopg.Connection) -> str:
    """Searches without an index, asserts that the CPU finds the same, and returns which device did it."""
    before = entries(connection)
    found = connection.execute(EXACT).fetchall()
    after = entries(connection)
    keys = [("exact_search", "cpu"), ("exact_search", "gpu")]
    devices = [key[1] for key in keys if after.get(key) != before.get(key)]
    connection.execute("SET vectorgpu.device = cpu")
    assert found == connection.execute(EXACT).fetchall()
    connection.execute("RESET vectorgpu.device")
    return " ".join(devices)


def test_an_exact_search_runs_on_a_gpu_that_repays_opening_it(auto):
    connection = auto()
    assert exact_search(connection) == "gpu"
    for slow in ({"gpu_start_s": 1e3}, {"gpu_copy_bytes_per_s": 1e3}, {"gpu_multiply_adds_per_s": 1e6}):
        connection = auto(**slow)
        assert exact_search(connection) == "cpu"
        assert connection.execute("SELECT engines_opened FROM vectorgpu.stats").fetchone() == (0,)
    connection = auto()
    connection.execute("SET vectorgpu.device = cpu")
    connection.execute(EXACT)
    assert ("exact_search", "gpu") not in entries(connection)


def test_an_exact_search_leaves_a_gpu_that_turns_out_slower_than_estimated(auto):
    # Half of what the CPU is estimated to take.
    connection = auto(gpu_multiply_adds_per_s=25e9)
    devices = [exact_search(connection) for _ in range(6)]
    assert devices[0] == "gpu"
    runs, _, estimated_ms, actual_ms = entries(connection)["exact_search", "gpu"]
    # Where it is really faster, as on a GPU of silicon, it may stay.
    if actual_ms > 4 * estimated_ms:
        assert "cpu" in devices and runs < 6


def test_an_exact_search_that_does_not_fit_the_gpu_goes_on_on_the_cpu_after_one_warning(auto):
    connection = auto()
    connection.execute("SET vectorgpu.vram_limit = '16MB'")
    connection.execute("SET vectorgpu.staging_size = '1MB'")
    connection.execute(
        "CREATE TEMP TABLE wide AS SELECT array_fill(n::real, ARRAY[16000])::vector(16000) AS embedding"
        " FROM generate_series(1, 200) n"
    )
    notices: list[str] = []
    connection.add_notice_handler(lambda notice: notices.append(notice.message_primary))
    # Two passes: the second one does not try again.
    connection.execute("SET work_mem = '64kB'")
    sql = """
        SELECT query, rank, tid, distance FROM vectorgpu.exact_search(
            'wide', 'embedding', (SELECT array_agg(embedding) FROM wide), 30) ORDER BY 1, 2
    """
    found = connection.execute(sql).fetchall()
    assert len(notices) == 1 and "the CPU goes on" in notices[0], notices
    assert ("exact_search", "gpu") not in entries(connection)
    connection.execute("SET vectorgpu.device = cpu")
    assert found == connection.execute(sql).fetchall()


def create_large_table(connection: psycopg.Connection, rows: int) -> None:
    """Makes the table `large` of 96 dimensions and its index."""
    connection.execute("DROP TABLE IF EXISTS large")
    connection.execute("CREATE TABLE large (id int, embedding vector(96))")
    connection.execute(f"""
        INSERT INTO large
        SELECT n * {ROWS} + id, (embedding || embedding || l2_normalize(embedding))::vector(96)
        FROM items, generate_series(0, {rows // ROWS}) n LIMIT {rows}
    """)
    connection.execute("CREATE INDEX large_ivf ON large USING ivf (embedding vector_l2_ops) WITH (lists = 20)")


def search_large_table(connection: psycopg.Connection, seed: int, probes: int) -> list[float]:
    """Distances of the nearest rows."""
    connection.execute("SET enable_seqscan = off")
    connection.execute(f"SET vectorgpu.probes = {probes}")
    vector = items.vector_text(items.uniform(1, 96, seed=seed)[0])
    sql = f"SELECT embedding <-> '{vector}' FROM large ORDER BY embedding <-> '{vector}' LIMIT 10"
    return [distance for (distance,) in connection.execute(sql).fetchall()]


def test_lists_that_do_not_fit_are_not_copied_for_one_search(auto):
    connection = auto(gpu_copy_bytes_per_s=256e6)
    connection.execute("SET vectorgpu.vram_limit = '16MB'")
    # 15.4 MB of codes.
    create_large_table(connection, 80_000)
    for seed in range(100):
        search_large_table(connection, seed, 3)
        device, why, *_ = connection.execute(LAST).fetchone()
        assert device.startswith("cpu") and why == "opening and filling a GPU would not have paid off yet"


def test_sessions_share_the_gpu_within_their_memory(auto, calibrated):
    """32 at once; lists of which not all fit are evicted, and what does not fit at all is read from the pages."""
    first = auto()
    first.execute("SET vectorgpu.device = cpu")
    # 13.8 MB of codes, and the limit leaves room for a little less.
    create_large_table(first, 72_000)
    expected = [search_large_table(first, 9, probes) for probes in (2, 20)]
    problems, devices = [], set()

    def search() -> None:
        try:
            with psycopg.connect(calibrated.dsn(), autocommit=True) as connection:
                connection.execute("SET vectorgpu.allow_software_gpu = on")
                connection.execute("SET vectorgpu.vram_limit = '16MB'")
                for probes, distances in zip((2, 20), expected, strict=True):
                    assert search_large_table(connection, 9, probes) == pytest.approx(distances, rel=1e-6)
                    devices.add(connection.execute(LAST).fetchone()[0])
                sql = "SELECT vram_peak_bytes, vram_limit_bytes FROM vectorgpu.stats"
                peak, limit = connection.execute(sql).fetchone()
                assert 0 < peak <= limit == 16 << 20
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=search, daemon=True) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=150)
    assert not problems and not any(thread.is_alive() for thread in threads)
    assert len(devices) == 2, f"some searches fit and some do not: {devices}"


def test_many_queries_and_builds_are_decided_alike(auto):
    connection = auto()
    sql = "SELECT query, rank, distance FROM vectorgpu.search('items_ivf', %s::vector[], 5, 3) ORDER BY 1, 2"
    queries = "{" + ",".join(f'"{items.vector_text(query)}"' for query in items.uniform(30, DIMS)) + "}"
    at_once = connection.execute(sql, (queries,)).fetchall()
    assert entries(connection)["search", "gpu"][0] == 1
    connection.execute("SELECT * FROM vectorgpu.kmeans('items', 'embedding', 10)").fetchall()
    connection.execute("CREATE INDEX other ON items USING ivf (embedding vector_l2_ops) WITH (lists = 30)")
    booked = entries(connection)
    assert booked["build", "gpu"][0] == booked["kmeans", "gpu"][0] == 1
    connection.execute("DROP INDEX other")
    connection = auto(gpu_search_s=10.0, gpu_multiply_adds_per_s=1e6)
    one_by_one = connection.execute(sql, (queries,)).fetchall()
    connection.execute("SELECT * FROM vectorgpu.kmeans('items', 'embedding', 10)").fetchall()
    connection.execute("CREATE INDEX other ON items USING ivf (embedding vector_l2_ops) WITH (lists = 30)")
    connection.execute("DROP INDEX other")
    assert set(entries(connection)) == {("search", "cpu"), ("kmeans", "cpu"), ("build", "cpu")}
    assert [row[:2] for row in at_once] == [row[:2] for row in one_by_one]
    distances = [[row[2] for row in rows] for rows in (at_once, one_by_one)]
    assert distances[0] == pytest.approx(distances[1], rel=1e-6)


def test_the_first_work_that_a_gpu_might_do_faster_measures_it(auto, calibrated, gpu_device):
    connection = auto()
    calibration_file(calibrated).unlink()
    # Some two seconds of one core by the rates that are assumed, much less in fact.
    connection.execute("SELECT * FROM vectorgpu.kmeans('items', 'embedding', 10000)").fetchall()
    (adapter,) = connection.execute("SELECT adapter FROM vectorgpu.calibration").fetchone()
    assert adapter.startswith(gpu_device) and calibration_file(calibrated).exists()
    # Software Vulkan is slower than the CPU that it runs on.
    if "llvmpipe" in gpu_device:
        assert set(entries(connection)) == {("kmeans", "cpu")}


def test_a_machine_whose_gpu_is_gone_goes_on_silently(calibrated, make_cluster, auto):
    auto().close()
    cluster = make_cluster(AUTO, environment={"VK_DRIVER_FILES": "/nonexistent", "VK_ICD_FILENAMES": "/nonexistent"})
    folder = calibration_file(cluster).parent
    folder.mkdir(mode=0o700)
    shutil.copy(calibration_file(calibrated), folder)
    for path in (folder, calibration_file(cluster)):
        shutil.chown(path, cluster.data.owner(), cluster.data.group())
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vectorgpu")
        connection.execute("SET vectorgpu.allow_software_gpu = on")
        items.create_items(connection, items.uniform(5_000, DIMS))
        items.create_index(connection, LISTS, storage="f32")
        reasons = [scan(connection, seed) for seed in range(30)]
        assert reasons[0] == ("cpu", "no GPU could be opened")
        assert {device for device, _ in reasons} == {"cpu"}
        # It is not tried again at every search.
        assert [why for _, why in reasons].count("no GPU could be opened") == 1
    assert not [line for line in cluster.log_text().splitlines() if "WARNING" in line]


def test_a_standby_measures_for_itself(calibrated, make_cluster):
    """Rates of the primary come with a base backup; a standby may replace them, for it writes no WAL for that."""
    standby = make_cluster.adopt(start_standby(calibrated))
    path = calibration_file(standby)
    path.write_text("{}")
    with psycopg.connect(standby.dsn(), autocommit=True) as connection:
        assert connection.execute("SELECT count(*) FROM vectorgpu.calibration").fetchone() == (0,)
        use_gpu(connection)
        connection.execute("SELECT * FROM vectorgpu.calibrate()")
        assert connection.execute("SELECT count(*) FROM vectorgpu.calibration").fetchone() == (1,)
    assert json.loads(path.read_text())["version"] == 1
