"""pg_upgrade takes a cluster with the extension to a new one: files of tables and indexes are copied as they are."""

from __future__ import annotations

import shutil
from pathlib import Path

import every_type
import psycopg
import pytest
from cluster import Cluster, data_parent, run_as_server
from conftest import CLUSTERS


def upgrade(bindir: Path, old: Cluster, new: Cluster, *options: str) -> str:
    """Runs pg_upgrade between two stopped clusters; returns what it printed; skips where it refuses."""
    programs = ["-b", str(bindir), "-B", str(bindir), "-d", str(old.data), "-D", str(new.data)]
    command = [str(bindir / "pg_upgrade"), *programs, "-U", "postgres", "-s", str(new.socket), *options]
    # It writes into the current folder, which has to be the server account's.
    done = run_as_server(["env", "-C", str(new.folder), *command], capture_output=True)
    said = done.stdout + done.stderr
    if done.returncode != 0 and "can only upgrade" in said:
        pytest.skip(f"NO UPGRADE HAS RUN: {said}")
    assert done.returncode == 0, said
    return said


@pytest.fixture
def fresh_cluster(bindir: Path, make_cluster) -> Cluster:
    """A cluster that was made and never started, of the settings that others have."""
    preferred = CLUSTERS / "upgraded"
    shutil.rmtree(preferred, ignore_errors=True)
    folder, _ = data_parent(preferred)
    cluster = make_cluster.adopt(Cluster(folder, bindir))
    cluster.create({"fsync": "off", "shared_buffers": "32MB"})
    return cluster


def test_pg_upgrade_checks_and_takes_over_tables_and_indexes(make_cluster, bindir: Path, fresh_cluster: Cluster):
    old = make_cluster({"shared_buffers": "32MB"})
    with psycopg.connect(old.dsn(), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vectorgpu")
        every_type.create(connection)
    old.stop()
    assert "Clusters are compatible" in upgrade(bindir, old, fresh_cluster, "--check")
    upgrade(bindir, old, fresh_cluster)
    for cluster in (old, fresh_cluster):
        cluster.start()
    with (
        psycopg.connect(old.dsn(), autocommit=True) as original,
        psycopg.connect(fresh_cluster.dsn(), autocommit=True) as upgraded,
    ):
        every_type.assert_same(upgraded, original)
        upgraded.execute("ALTER EXTENSION vectorgpu UPDATE")
        upgraded.execute("INSERT INTO things SELECT id + 1000, embedding, half FROM things WHERE id < 10")
        upgraded.execute("REINDEX TABLE things")
