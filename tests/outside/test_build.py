"""Builds with parallel workers: the same index as without them, and clean ends of those that fail."""

from __future__ import annotations

import re

import items
import numpy as np
import psycopg
import pytest
from progress import Statement, wait_for_build, wait_for_no_workers

ROWS, DIMS, LISTS = 20_000, 48, 60


@pytest.fixture
def parallel(connection) -> psycopg.Connection:
    """A connection with a table of 20,000 rows for whose index builds two workers are wanted."""
    items.create_items(connection, items.uniform(ROWS, DIMS))
    connection.execute("ALTER TABLE items SET (parallel_workers = 2)")
    return connection


def build(connection: psycopg.Connection, name: str, how: str = "", column: str = "embedding", storage: str = "f32"):
    """Builds an index and returns the number of workers that took part."""
    messages = []
    connection.add_notice_handler(lambda diagnostic: messages.append(diagnostic.message_primary))
    connection.execute("SET client_min_messages = debug1")
    connection.execute(
        f"CREATE INDEX {how} {name} ON items USING ivf ({column} vector_l2_ops) "
        f"WITH (lists = {LISTS}, storage = {storage})"
    )
    connection.execute("RESET client_min_messages")
    # The server has messages of its own about workers.
    used = [re.fullmatch("using ([0-9]+) parallel workers", message) for message in messages]
    return next((int(match[1]) for match in used if match), 0)


def assert_equal_indexes(connection: psycopg.Connection, left: str, right: str) -> None:
    """Asserts that two indexes have the same bytes, and so the same rows in every list, and that they are sound."""
    assert np.array_equal(items.pages(connection, left), items.pages(connection, right))
    assert items.verify(connection, left) == items.verify(connection, right) == ROWS


@pytest.mark.parametrize("storage", items.STORAGES)
def test_workers_write_the_index_that_one_process_writes(parallel, storage):
    assert build(parallel, "together", storage=storage) == 2
    parallel.execute("SET max_parallel_maintenance_workers = 0")
    assert build(parallel, "alone", storage=storage) == 0
    assert_equal_indexes(parallel, "together", "alone")


@pytest.mark.parametrize("launched", [0, 1])
def test_build_makes_do_with_fewer_workers_than_it_asked_for(parallel, launched):
    assert build(parallel, "wanted") == 2
    parallel.execute(f"SET max_parallel_workers = {launched}")
    assert build(parallel, "got") == launched
    assert_equal_indexes(parallel, "got", "wanted")


@pytest.mark.parametrize("launched", [0, 1, 2])
def test_workers_read_the_sample_that_one_process_reads(connection, launched):
    items.create_items(connection, items.uniform(ROWS, 600))
    connection.execute("ALTER TABLE items SET (parallel_workers = 2)")
    connection.execute(f"SET max_parallel_workers = {launched}")
    messages = []
    connection.add_notice_handler(lambda diagnostic: messages.append(diagnostic.message_primary))
    build(connection, "together")
    assert f"{launched} parallel workers read the sample" in messages
    connection.execute("SET max_parallel_maintenance_workers = 0")
    assert build(connection, "alone") == 0
    assert_equal_indexes(connection, "together", "alone")


@pytest.mark.parametrize(
    ("how", "column"),
    [("CONCURRENTLY", "embedding"), ("", f"(embedding::vector({DIMS}))")],
    ids=["concurrent", "expression"],
)
def test_workers_take_part_in_builds_of_every_kind(parallel, how, column):
    assert build(parallel, "together", how, column) == 2
    parallel.execute("SET max_parallel_maintenance_workers = 0")
    assert build(parallel, "alone", how, column) == 0
    assert_equal_indexes(parallel, "together", "alone")


def test_workers_write_an_unlogged_index(parallel):
    parallel.execute("ALTER TABLE items SET UNLOGGED")
    assert build(parallel, "together") == 2
    assert items.verify(parallel, "together") == ROWS


def test_more_workers_than_lists_and_lists_without_rows(parallel):
    for lists in (1, 2, 25_000):
        items.create_index(parallel, lists, name=f"of_{lists}")
        assert items.verify(parallel, f"of_{lists}") == ROWS
    parallel.execute("TRUNCATE items")
    assert build(parallel, "empty") == 2
    assert items.verify(parallel, "empty") == 0


def test_error_in_a_worker_ends_the_build_and_all_workers(parallel):
    parallel.execute("""
        CREATE FUNCTION refused_by_workers(id int, e vector) RETURNS vector LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
        AS $$
        BEGIN
            IF id % 100 = 0 AND EXISTS (
                SELECT FROM pg_stat_activity WHERE pid = pg_backend_pid() AND backend_type = 'parallel worker'
            ) THEN
                RAISE division_by_zero;
            END IF;
            RETURN e;
        END $$
    """)
    with pytest.raises(psycopg.errors.DivisionByZero):
        build(parallel, "refused", column=f"(refused_by_workers(id, embedding)::vector({DIMS}))")
    wait_for_no_workers(parallel)
    assert build(parallel, "accepted") == 2
    assert items.verify(parallel, "accepted") == ROWS


@pytest.mark.parametrize("phase", ["assigning rows", "writing lists"])
@pytest.mark.parametrize("function", ["pg_cancel_backend", "pg_terminate_backend"])
def test_cancelled_parallel_build_ends_with_its_workers(connection, database, function, phase):
    items.create_items(connection, items.uniform(100_000, 128))
    connection.execute("ALTER TABLE items SET (parallel_workers = 2)")
    statement = Statement(
        database,
        "CREATE INDEX items_ivf ON items USING ivf (embedding vector_l2_ops) WITH (lists = 200, storage = f32)",
        {"vectorgpu.device": "cpu"},
    )
    statement.start()
    wait_for_build(connection, statement, phase)
    connection.execute(f"SELECT {function}(%s)", (statement.pid,))
    error = statement.finish()
    expected = psycopg.errors.QueryCanceled if "cancel" in function else psycopg.errors.AdminShutdown
    assert isinstance(error, expected), error
    wait_for_no_workers(connection)
    assert connection.execute("SELECT to_regclass('items_ivf')").fetchone() == (None,)


@pytest.mark.parametrize("threshold", ["0", "1GB"], ids=["synced", "logged_at_commit"])
def test_index_of_a_table_that_skips_the_wal_survives_a_crash(make_cluster, threshold):
    cluster = make_cluster({"wal_level": "minimal", "max_wal_senders": "0", "wal_skip_threshold": threshold})
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vectorgpu")
        with connection.transaction():
            items.create_items(connection, items.uniform(ROWS, DIMS))
            connection.execute("ALTER TABLE items SET (parallel_workers = 2)")
            assert build(connection, "items_ivf") == 2
    cluster.crash()
    cluster.start()
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        assert items.verify(connection) == ROWS
