"""Moving and removing: pg_dump and restore, DROP and CREATE EXTENSION, tablespaces."""

from __future__ import annotations

from pathlib import Path

import every_type
import items
import psycopg
import pytest
from items import Scan
from programs import run_program

LISTS = 30


def definition(connection: psycopg.Connection) -> str:
    """The index's DDL."""
    return connection.execute("SELECT pg_get_indexdef('items_ivf'::regclass)").fetchone()[0]


@pytest.mark.parametrize("file_format", ["custom", "plain"])
def test_dump_and_restore_bring_back_rows_index_and_options(
    connection, shared_cluster, bindir: Path, tmp_path: Path, file_format
):
    items.create_items(connection, items.uniform(5_000, 32))
    items.create_index(connection, LISTS, "cosine", "f16")
    dump = str(tmp_path / "dump")
    run_program(bindir, "pg_dump", "-d", shared_cluster.dsn("test"), f"--format={file_format}", f"--file={dump}")
    connection.execute("DROP DATABASE IF EXISTS restored WITH (FORCE)")
    connection.execute("CREATE DATABASE restored")
    dsn = shared_cluster.dsn("restored")
    if file_format == "custom":
        run_program(bindir, "pg_restore", "-d", dsn, "--exit-on-error", dump)
    else:
        run_program(bindir, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dsn, "-f", dump)
    with psycopg.connect(dsn, autocommit=True) as restored:
        assert definition(restored) == definition(connection)
        assert items.indexed_ids(restored, LISTS, "cosine") == list(range(5_000))
        assert items.verify(restored) == 5_000
        for query in items.uniform(5, 32, seed=4):
            scan = Scan("cosine", probes=LISTS, limit=20)
            items.assert_same_answer(
                items.through_index(restored, query, scan), items.through_index(connection, query, scan)
            )


def test_every_type_and_operator_class_comes_back_from_a_dump(connection, shared_cluster, bindir: Path, tmp_path: Path):
    every_type.create(connection)
    dump = str(tmp_path / "dump")
    run_program(bindir, "pg_dump", "-d", shared_cluster.dsn("test"), "--format=directory", "--jobs=2", f"--file={dump}")
    connection.execute("DROP DATABASE IF EXISTS restored WITH (FORCE)")
    connection.execute("CREATE DATABASE restored")
    dsn = shared_cluster.dsn("restored")
    run_program(bindir, "pg_restore", "-d", dsn, "--exit-on-error", "--jobs=2", dump)
    with psycopg.connect(dsn, autocommit=True) as restored:
        every_type.assert_same(restored, connection)


def test_extension_can_be_dropped_and_created_again(connection, database):
    items.create_items(connection, items.uniform(1_000, 32))
    items.create_index(connection, LISTS)
    with pytest.raises(psycopg.errors.DependentObjectsStillExist):
        connection.execute("DROP EXTENSION vectorgpu")
    connection.execute("DROP EXTENSION vectorgpu CASCADE")
    left = """
        SELECT (SELECT count(*) FROM pg_am WHERE amname = 'ivf'),
               (SELECT count(*) FROM pg_namespace WHERE nspname = 'vectorgpu'),
               (SELECT count(*) FROM pg_type WHERE typname = 'vector'),
               to_regclass('items_ivf')
    """
    assert connection.execute(left).fetchone() == (0, 0, 0, None)
    connection.execute("DROP TABLE items")
    connection.execute("CREATE EXTENSION vectorgpu")
    for client in (connection, psycopg.connect(database, autocommit=True)):
        with client.transaction(force_rollback=True):
            items.create_items(client, items.uniform(1_000, 32))
            items.create_index(client, LISTS)
            assert items.indexed_ids(client, LISTS) == list(range(1_000))


def test_extension_lives_in_a_schema_of_the_users_choice(connection):
    connection.execute("DROP EXTENSION vectorgpu CASCADE")
    connection.execute("CREATE SCHEMA elsewhere")
    connection.execute("CREATE EXTENSION vectorgpu SCHEMA elsewhere")
    connection.execute("CREATE TABLE t (e elsewhere.vector(2))")
    connection.execute("INSERT INTO t VALUES ('[1,2]'), ('[3,4]')")
    connection.execute("CREATE INDEX ON t USING ivf (e elsewhere.vector_l2_ops) WITH (lists = 1)")
    nearest = "SELECT e::text FROM t ORDER BY e OPERATOR(elsewhere.<->) '[3,3]' LIMIT 1"
    assert connection.execute(nearest).fetchone() == ("[3,4]",)


def test_index_moves_to_another_tablespace(connection, shared_cluster):
    items.create_items(connection, items.uniform(1_000, 32))
    items.create_index(connection, LISTS)
    connection.execute("SET allow_in_place_tablespaces = on")
    connection.execute("CREATE TABLESPACE elsewhere LOCATION ''")
    try:
        connection.execute("ALTER INDEX items_ivf SET TABLESPACE elsewhere")
        assert items.indexed_ids(connection, LISTS) == list(range(1_000))
        assert items.verify(connection) == 1_000
    finally:
        connection.execute("DROP TABLE items")
        connection.execute("DROP TABLESPACE elsewhere")
