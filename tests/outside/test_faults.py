"""A GPU that is lost or full in the middle of a statement: the right answer or a clean error, and the server stays up.

The Vulkan layer of tests/fault_layer makes the n-th call of a backend's GPU device fail. The server is started with the
layer in its environment; each case writes into the layer's plan what the next device meets. VECTORGPU_FAULT_LAYER names
a built layer; without it cargo builds one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import items
import psycopg
import pytest
from cluster import Cluster, server_account
from conftest import TARGET, new_cluster, put_away, use_gpu
from items import Scan
from progress import wait_for_no_workers, wait_until

ROOT = Path(__file__).resolve().parents[2]
LAYER = ROOT / "tests" / "fault_layer"
LIBRARY = "libvectorgpu_fault_layer.so"

# What a user may see of a failed GPU: SQLSTATE 58000 and 53200.
CLEAN = (psycopg.errors.SystemError, psycopg.errors.OutOfMemory)

ROWS, DIMS, LISTS = 4_000, 32, 30

# Each is met by a scan and by a build on the GPU; the first of each call surely comes on any device.
LOSSES = [f"vkQueueSubmit {number} lost" for number in (1, 2, 3, 5, 8, 13)] + [
    f"vkGetSemaphoreCounterValue {number} lost" for number in (1, 4, 40)
]
REFUSALS = [
    *(f"vkAllocateMemory {number} {fault}" for number in (1, 2, 3) for fault in ("oom_once", "oom")),
    *(f"vkCreateBuffer {number} {fault}" for number in (1, 5, 7, 9, 12) for fault in ("oom_once", "oom")),
    "vkCreateComputePipelines 1 oom_once",
    "vkAllocateDescriptorSets 1 oom_once",
    "vkQueueSubmit 2 oom_once",
]
# Opening fails, which a session remembers for some seconds.
UNOPENED = ["vkCreateDevice 1 lost", "vkCreateDevice 1 oom_once"]


@dataclass
class Layer:
    """The folder with the layer, its plan and its report."""

    folder: Path

    def environment(self) -> dict[str, str]:
        """What a server needs in its environment."""
        return {
            "VK_LAYER_PATH": str(self.folder),
            "VK_INSTANCE_LAYERS": "VK_LAYER_VECTORGPU_fault",
            "VECTORGPU_FAULT_PLAN": str(self.folder / "plan"),
            "VECTORGPU_FAULT_REPORT": str(self.folder / "report"),
        }

    def set_plan(self, plan: str) -> None:
        """Sets what the next device meets, and forgets what the last one reported."""
        (self.folder / "plan").write_text(plan)
        (self.folder / "report").unlink(missing_ok=True)

    def reported(self, name: str) -> int:
        """What the device made last reports under `name`; 0 if none was made."""
        report = self.folder / "report"
        lines = report.read_text().splitlines() if report.exists() else []
        return next((int(line.split()[1]) for line in lines if line.startswith(f"{name} ")), 0)


def built_library() -> Path:
    """The layer's library: the one named, or one that cargo builds now."""
    named = os.environ.get("VECTORGPU_FAULT_LAYER")
    if named:
        return Path(named)
    if shutil.which("cargo") is None:
        assert not os.environ.get("VECTORGPU_REQUIRE_GPU"), "neither VECTORGPU_FAULT_LAYER nor cargo is there"
        pytest.skip("NO FAULT TEST HAS RUN: neither VECTORGPU_FAULT_LAYER nor cargo is there")
    command = ["cargo", "build", "--locked", "--quiet", "--package", "vectorgpu-fault-layer"]
    subprocess.run([*command, "--target-dir", str(TARGET)], cwd=ROOT, check=True)
    return TARGET / "debug" / LIBRARY


@pytest.fixture(scope="module")
def layer(gpu_device: str) -> Iterator[Layer]:
    """The layer, in a folder where the server may read it and write its report."""
    library = built_library()
    # Not in pytest's temporary folder, which the server's account cannot enter.
    with tempfile.TemporaryDirectory(prefix="vectorgpu-", dir="/tmp") as name:
        folder = Path(name)
        shutil.copy(library, folder / LIBRARY)
        shutil.copy(LAYER / "vectorgpu_fault.json", folder)
        folder.chmod(0o755)
        account = server_account()
        if account is not None:
            os.chown(folder, account.pw_uid, account.pw_gid)
        yield Layer(folder)


@pytest.fixture(scope="module")
def faulty(bindir: Path, layer: Layer) -> Iterator[Cluster]:
    """A server with the layer, and a table with an index that was built on the CPU."""
    cluster = new_cluster(bindir, "faults", {}, layer.environment())
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vectorgpu")
        connection.execute("SET vectorgpu.device = 'cpu'")
        items.create_items(connection, items.uniform(ROWS, DIMS))
        items.create_index(connection, LISTS, storage="f32")
    yield cluster
    died = cluster.died_backends()
    put_away(cluster, "faults")
    assert not died, f"backends died: {died}"


@pytest.fixture
def session(faulty: Cluster, layer: Layer) -> Iterator[psycopg.Connection]:
    """A session without a GPU device yet. Afterwards its backend exits at once, whatever became of the device."""
    connection = psycopg.connect(faulty.dsn(), autocommit=True)
    use_gpu(connection)
    process = Path(f"/proc/{connection.info.backend_pid}")
    yield connection
    layer.set_plan("")
    connection.close()
    wait_until(lambda: not process.exists(), "exit of the backend", every_s=0.01)


def search(connection: psycopg.Connection) -> list[items.Row]:
    """One search of all lists, through the index."""
    return items.through_index(connection, items.uniform(1, DIMS, seed=6)[0], Scan(probes=LISTS))


def truth(connection: psycopg.Connection) -> list[items.Row]:
    """The right answer of `search`."""
    return items.exact(connection, items.uniform(1, DIMS, seed=6)[0], Scan(probes=LISTS))


def assert_gpu_works(connection: psycopg.Connection) -> None:
    """The next search runs on the GPU and is right."""
    items.assert_same_answer(search(connection), truth(connection))
    device = connection.execute("SELECT device FROM vectorgpu.last_scan()").fetchone()[0]
    assert not device.startswith("cpu"), f"the session has stayed on {device}"


def assert_gpu_works_again(connection: psycopg.Connection, layer: Layer, dsn: str) -> None:
    """Nothing happens to the GPU any more: the same session takes a new device after a loss, another one has its own.

    A device that refuses memory is alive, and is kept by its session together with its plan.
    """
    lost = layer.reported("faults") > 0 and (layer.folder / "plan").read_text().endswith("lost")
    layer.set_plan("")
    if lost:
        assert_gpu_works(connection)
    with psycopg.connect(dsn, autocommit=True) as other:
        use_gpu(other)
        assert_gpu_works(other)


def test_the_layer_is_loaded_and_harmless_without_a_plan(session, layer):
    layer.set_plan("")
    assert_gpu_works(session)
    assert layer.reported("vkQueueSubmit") > 0
    assert layer.reported("faults") == 0


def assert_right_or_clean(layer: Layer, plan: str, check: Callable[[], None]) -> None:
    """Has `check` search and compare until the plan's fault comes: answers are right, or a clean error ends them."""
    for _ in range(20):
        try:
            check()
        except CLEAN:
            assert layer.reported("faults") > 0
            break
        if layer.reported("faults"):
            assert not plan.endswith("lost"), "the loss went unnoticed"
            break
    assert layer.reported("faults") or not plan.endswith("lost"), "twenty searches make more calls than that"


@pytest.mark.parametrize("plan", LOSSES + REFUSALS)
def test_scan_on_a_failing_gpu_is_right_or_a_clean_error(session, faulty, layer, plan):
    layer.set_plan(plan)
    expected = truth(session)
    assert_right_or_clean(layer, plan, lambda: items.assert_same_answer(search(session), expected))
    assert_gpu_works_again(session, layer, faulty.dsn())


@pytest.mark.parametrize("plan", LOSSES + REFUSALS)
def test_build_on_a_failing_gpu_succeeds_or_leaves_nothing(session, faulty, layer, plan):
    session.execute("DROP TABLE IF EXISTS built")
    session.execute("CREATE TABLE built AS SELECT id, embedding FROM items")
    build = f"CREATE INDEX built_ivf ON built USING ivf (embedding vector_l2_ops) WITH (lists = {LISTS})"
    layer.set_plan(plan)
    try:
        session.execute(build)
    except CLEAN:
        assert layer.reported("faults") > 0
        assert session.execute("SELECT to_regclass('built_ivf')").fetchone() == (None,)
        layer.set_plan("")
        with psycopg.connect(faulty.dsn(), autocommit=True) as other:
            use_gpu(other)
            other.execute(build)
    else:
        assert not (plan.endswith("lost") and layer.reported("faults")), "the loss went unnoticed"
    assert items.verify(session, "built_ivf") == ROWS


def create_tenfold(connection: psycopg.Connection) -> None:
    """Makes the table `built` with ten times the rows of `items`."""
    connection.execute("DROP TABLE IF EXISTS built")
    connection.execute(f"CREATE TABLE built (id int, embedding vector({DIMS}))")
    connection.execute("INSERT INTO built SELECT id + n * 10000, embedding FROM items, generate_series(1, 10) AS n")


# So many that some come while workers hand their rows over.
@pytest.mark.parametrize("number", [20, 60, 70, 80, 90, 100])
def test_loss_while_workers_hand_rows_over_ends_them_too(session, layer, number):
    create_tenfold(session)
    session.execute("ALTER TABLE built SET (parallel_workers = 2)")
    session.execute("SET min_parallel_table_scan_size = 0")
    session.execute("SET maintenance_work_mem = '96MB'")
    layer.set_plan(f"vkQueueSubmit {number} lost")
    build = f"CREATE INDEX built_ivf ON built USING ivf (embedding vector_l2_ops) WITH (lists = {LISTS})"
    try:
        session.execute(build)
    except CLEAN:
        assert layer.reported("faults") > 0
        wait_for_no_workers(session)
        assert session.execute("SELECT to_regclass('built_ivf')").fetchone() == (None,)
        layer.set_plan("")
        session.execute("SET vectorgpu.device = 'cpu'")
        session.execute(build)
    else:
        assert not layer.reported("faults"), "the loss went unnoticed"
    assert items.verify(session, "built_ivf") == 10 * ROWS


def exact_search(connection: psycopg.Connection) -> list[tuple]:
    """A search of every row for a few, without an index."""
    return connection.execute("""
        SELECT query, rank, tid, distance FROM vectorgpu.exact_search(
            'items', 'embedding', ARRAY(SELECT embedding FROM items WHERE id < 40 ORDER BY id), 5)
    """).fetchall()


@pytest.mark.parametrize("plan", LOSSES + REFUSALS)
def test_exact_search_on_a_failing_gpu_is_right_or_a_clean_error(session, faulty, layer, plan):
    session.execute("SET vectorgpu.device = 'cpu'")
    expected = exact_search(session)
    use_gpu(session)
    layer.set_plan(plan)

    def check() -> None:
        assert exact_search(session) == expected

    assert_right_or_clean(layer, plan, check)
    assert_gpu_works_again(session, layer, faulty.dsn())


@pytest.mark.parametrize("plan", UNOPENED)
def test_a_gpu_that_does_not_open_is_a_clean_error_and_the_next_session_has_it(session, faulty, layer, plan):
    layer.set_plan(plan)
    with pytest.raises(CLEAN):
        search(session)
    session.execute("SET vectorgpu.device = 'cpu'")
    items.assert_same_answer(search(session), truth(session))
    layer.set_plan("")
    with psycopg.connect(faulty.dsn(), autocommit=True) as other:
        use_gpu(other)
        assert_gpu_works(other)


def test_a_loss_under_auto_is_no_error(session, layer):
    # Whether auto takes the GPU depends on the machine (never software Vulkan): the statement succeeds either way.
    notices: list[str] = []
    session.add_notice_handler(lambda notice: notices.append(notice.message_primary))
    session.execute("SET vectorgpu.device = 'auto'")
    create_tenfold(session)
    layer.set_plan("vkQueueSubmit 20 lost")
    session.execute("CREATE INDEX built_ivf ON built USING ivf (embedding vector_l2_ops) WITH (lists = 2000)")
    assert items.verify(session, "built_ivf") == 10 * ROWS
    if layer.reported("faults"):
        assert any("the CPU goes on" in notice for notice in notices), notices
    items.assert_same_answer(search(session), truth(session))


def test_cursor_over_a_lost_gpu_ends_cleanly(session, faulty, layer):
    text = items.vector_text(items.uniform(1, DIMS, seed=6)[0])
    layer.set_plan("vkQueueSubmit 3 lost")
    with pytest.raises(CLEAN), session.transaction():
        session.execute("SET LOCAL enable_seqscan = off")
        session.execute("SET LOCAL vectorgpu.probes = 1")
        session.execute(f"DECLARE c CURSOR FOR SELECT id FROM items ORDER BY embedding <-> '{text}'")
        for _ in range(LISTS):
            session.execute("FETCH 200 FROM c")
    assert layer.reported("faults") > 0
    assert_gpu_works_again(session, layer, faulty.dsn())


def search_many(connection: psycopg.Connection) -> list[tuple]:
    """A search for some parts of queries."""
    vectors = "(SELECT array_agg(embedding ORDER BY id) || array_agg(embedding ORDER BY -id) AS vectors FROM items) q"
    return connection.execute(f"SELECT s.* FROM {vectors}, vectorgpu.search('items_ivf', q.vectors, 5, 2) s").fetchall()


@pytest.fixture(scope="module")
def found_on_cpu(faulty: Cluster) -> list[tuple]:
    """What `search_many` finds without a GPU."""
    with psycopg.connect(faulty.dsn(), autocommit=True) as connection:
        connection.execute("SET vectorgpu.device = 'cpu'")
        return search_many(connection)


@pytest.mark.parametrize("number", [2, 4, 6, 7, 8, 9, 10, 11, 12, 14, 17])
def test_searches_for_many_queries_on_a_gpu_that_is_lost_are_right_or_a_clean_error(
    session, faulty, layer, found_on_cpu, number
):
    layer.set_plan(f"vkQueueSubmit {number} lost")
    try:
        assert search_many(session) == found_on_cpu
        assert not layer.reported("faults"), "the loss went unnoticed"
    except CLEAN:
        assert layer.reported("faults") > 0
    assert_gpu_works_again(session, layer, faulty.dsn())


def test_searches_for_many_queries_go_on_under_auto_with_one_warning(session, faulty, layer, found_on_cpu):
    layer.set_plan("")
    session.execute("SELECT vectorgpu.calibrate()")
    path = faulty.data / "vectorgpu" / "calibration.json"
    measured = path.read_text()
    rates = {"gpu_start_s": 1e-9, "gpu_search_s": 1e-9} | {
        f"gpu_{what}_bytes_per_s": 1e18 for what in ("scan", "copy", "upload")
    }
    path.write_text(json.dumps(json.loads(measured) | rates | {"gpu_multiply_adds_per_s": 1e18}))
    lost = 0
    try:
        for number in (6, 8, 10, 11, 12, 13, 14, 15, 16, 18, 20, 25):
            notices: list[str] = []
            layer.set_plan(f"vkQueueSubmit {number} lost")
            with psycopg.connect(faulty.dsn(), autocommit=True) as connection:
                connection.execute("SET vectorgpu.device = 'auto'")
                connection.execute("SET vectorgpu.allow_software_gpu = on")
                connection.add_notice_handler(lambda notice, kept=notices: kept.append(notice.message_primary))
                assert search_many(connection) == found_on_cpu
                faults = layer.reported("faults")
                lost += faults
                assert len(notices) == faults, notices
                assert all("the CPU goes on" in notice for notice in notices)
                layer.set_plan("")
    finally:
        path.write_text(measured)
    assert lost > 3, "the GPU was there to be lost"
