"""Clusters and databases for the tests, and the rule that no test may kill a backend.

One cluster is shared by the tests that leave their server alone; a test that crashes, copies or corrupts a server makes
its own. Every server log is kept in target/outside-logs.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from cluster import Cluster, bindir_of, data_parent

TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or Path(__file__).resolve().parents[2] / "target").absolute()
# Several processes may share the files between them (pytest-xdist); each has clusters of its own.
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
CLUSTERS = TARGET / "outside" / WORKER
LOGS = TARGET / "outside-logs" / WORKER

# Two cores: small memory, no waiting for disks. A crash of the server alone loses nothing that was written.
SETTINGS = {
    "fsync": "off",
    "shared_buffers": "256MB",
    "maintenance_work_mem": "256MB",
    "max_connections": "50",
    "max_wal_size": "2GB",
    "log_min_messages": "warning",
    "log_line_prefix": "%m [%p] ",
}
# What sessions start with, e.g. VECTORGPU_DEVICE=gpu: every test that does not choose a device runs on that one.
if device := os.environ.get("VECTORGPU_DEVICE"):
    SETTINGS |= {"vectorgpu.device": device, "vectorgpu.allow_software_gpu": "on"}


@pytest.fixture(scope="session")
def bindir() -> Path:
    """Where the server programs are."""
    return bindir_of(os.environ.get("PG_CONFIG", "/usr/lib/postgresql/15/bin/pg_config"))


@pytest.fixture(scope="session", autouse=True)
def log_folder() -> None:
    """Empties the folder that keeps the server logs."""
    shutil.rmtree(LOGS, ignore_errors=True)
    LOGS.mkdir(parents=True)


def new_cluster(bindir: Path, name: str, settings: dict[str, str], environment: dict[str, str]) -> Cluster:
    """Makes and starts a cluster below target/."""
    preferred = CLUSTERS / name
    shutil.rmtree(preferred, ignore_errors=True)
    folder, _ = data_parent(preferred)
    cluster = Cluster(folder, bindir, environment=environment)
    cluster.create(SETTINGS | settings)
    cluster.start()
    return cluster


def put_away(cluster: Cluster, name: str) -> None:
    """Keeps a cluster's log and removes the rest."""
    if cluster.log.exists():
        shutil.copyfile(cluster.log, LOGS / f"{name}.log")
    cluster.remove()


@pytest.fixture(scope="session")
def shared_cluster(bindir: Path) -> Iterator[Cluster]:
    """The cluster of all tests that neither crash nor reconfigure their server."""
    cluster = new_cluster(bindir, "shared", {}, {})
    yield cluster
    put_away(cluster, "shared")


@pytest.fixture
def make_cluster(bindir: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Cluster]]:
    """Makes clusters of the test's own: `make_cluster(settings={}, environment={})`; checks and removes them all."""
    made: list[tuple[Cluster, str]] = []

    def make(settings: dict[str, str] | None = None, environment: dict[str, str] | None = None) -> Cluster:
        name = f"{request.node.name}-{len(made)}".replace("/", "_")
        cluster = new_cluster(bindir, name, settings or {}, environment or {})
        made.append((cluster, name))
        return cluster

    def adopt(cluster: Cluster) -> Cluster:
        made.append((cluster, f"{request.node.name}-{len(made)}"))
        return cluster

    make.adopt = adopt
    yield make
    died = [line for cluster, _ in made for line in cluster.died_backends()]
    for cluster, name in made:
        put_away(cluster, name)
    assert not died, f"backends died: {died}"


@pytest.fixture
def database(shared_cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A connection string to a fresh database with the extension; afterwards no backend may have died."""
    died_before = len(shared_cluster.died_backends())
    with psycopg.connect(shared_cluster.dsn(), autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS test WITH (FORCE)")
        connection.execute("CREATE DATABASE test")
    dsn = shared_cluster.dsn("test")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vectorgpu")
    yield dsn
    died = shared_cluster.died_backends()[died_before:]
    assert not died, f"backends died: {died}"


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection]:
    """A connection to the fresh database, in autocommit mode, on the CPU."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("SET vectorgpu.device = 'cpu'")
        yield connection


@pytest.fixture(scope="session")
def gpu_device(shared_cluster: Cluster) -> str:
    """The device that GPU tests run on; skips them where there is neither a GPU nor software Vulkan.

    VECTORGPU_REQUIRE_GPU=1 turns the skip into a failure, `hardware` one on software Vulkan too.
    """
    required = os.environ.get("VECTORGPU_REQUIRE_GPU", "")
    with psycopg.connect(shared_cluster.dsn(), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vectorgpu")
        connection.execute("CREATE TEMP TABLE probe (e vector(8))")
        connection.execute("INSERT INTO probe SELECT ARRAY[i,1,2,3,4,5,6,7]::vector FROM generate_series(1, 100) i")
        connection.execute("CREATE INDEX ON probe USING ivf (e vector_l2_ops) WITH (lists = 2)")
        use_gpu(connection)
        connection.execute("SET enable_seqscan = off")
        try:
            connection.execute("SELECT e FROM probe ORDER BY e <-> '[1,2,3,4,5,6,7,8]' LIMIT 3").fetchall()
        except psycopg.errors.FeatureNotSupported as error:
            assert not required, f"a GPU is required here: {error}"
            pytest.skip(f"NO GPU TEST HAS RUN: {error.diag.message_primary}")
        device = connection.execute("SELECT device FROM vectorgpu.last_scan()").fetchone()[0]
    assert "cpu" not in device.split(" ")[0].lower(), f"device = gpu ran on {device}"
    if required == "hardware":
        assert "llvmpipe" not in device, f"a hardware GPU is required here, and {device} ran"
    return device


@pytest.fixture
def gpu_connection(connection: psycopg.Connection, gpu_device: str) -> psycopg.Connection:
    """The connection of `connection`, on the GPU."""
    use_gpu(connection)
    return connection


@pytest.fixture(params=["cpu", "gpu"])
def device_connection(request: pytest.FixtureRequest) -> psycopg.Connection:
    """Runs a test twice: on the CPU, and on the GPU where there is one."""
    return request.getfixturevalue("connection" if request.param == "cpu" else "gpu_connection")


def use_gpu(connection: psycopg.Connection) -> None:
    """Makes every scan and build of this connection run on the GPU, software Vulkan included."""
    connection.execute("SET vectorgpu.allow_software_gpu = on")
    connection.execute("SET vectorgpu.device = 'gpu'")
