"""Rows and tables that are easy to get wrong: none, one, NULL, equal, zero, short and very long vectors."""

from __future__ import annotations

import math

import items
import numpy as np
import psycopg
import pytest
from items import METRICS, Scan


@pytest.mark.parametrize("metric", METRICS)
def test_empty_table_answers_nothing_and_takes_rows_later(device_connection, metric):
    items.create_items(device_connection, items.uniform(0, 8))
    items.create_index(device_connection, 10, metric)
    query = items.uniform(1, 8)[0]
    assert items.through_index(device_connection, query, Scan(metric)) == []
    items.copy_vectors(device_connection, "items", items.uniform(500, 8))
    scan = Scan(metric, probes=10, limit=None)
    items.assert_same_answer(
        items.through_index(device_connection, query, scan), items.exact(device_connection, query, scan)
    )
    assert items.verify(device_connection) == 500


@pytest.mark.parametrize("metric", METRICS)
def test_one_row_is_found(device_connection, metric):
    items.create_items(device_connection, items.uniform(1, 8))
    items.create_index(device_connection, 100, metric)
    answer = items.through_index(device_connection, items.uniform(1, 8, seed=2)[0], Scan(metric, probes=1))
    assert [identifier for identifier, _ in answer] == [0]


def test_fewer_rows_than_lists_are_all_found(device_connection):
    items.create_items(device_connection, items.uniform(30, 8))
    items.create_index(device_connection, 100)
    assert items.indexed_ids(device_connection, 100) == list(range(30))
    assert items.verify(device_connection) == 30


def test_null_is_skipped_and_never_returned(connection):
    items.create_items(connection, items.uniform(100, 8))
    connection.execute("INSERT INTO items SELECT i, NULL FROM generate_series(100, 149) i")
    items.create_index(connection, 5)
    connection.execute("INSERT INTO items SELECT i, NULL FROM generate_series(150, 199) i")
    assert items.indexed_ids(connection, 5) == list(range(100))
    assert items.verify(connection) == 100


def test_table_of_nulls_can_be_indexed(connection):
    items.create_items(connection, items.uniform(0, 8))
    connection.execute("INSERT INTO items SELECT i, NULL FROM generate_series(1, 100) i")
    items.create_index(connection, 5)
    assert items.indexed_ids(connection, 5) == []


def test_null_query_returns_rows_without_a_crash(connection):
    items.create_items(connection, items.uniform(100, 8))
    items.create_index(connection, 5)
    connection.execute("SET enable_seqscan = off")
    connection.execute("SET vectorgpu.probes = 5")
    rows = connection.execute("SELECT id FROM items ORDER BY embedding <-> NULL::vector LIMIT 10").fetchall()
    assert len(rows) == 10


def test_zero_vectors_under_cosine_come_last_as_in_exact_search(device_connection):
    rows = items.uniform(200, 8)
    rows[::10] = 0
    items.create_items(device_connection, rows)
    items.create_index(device_connection, 5, "cosine")
    device_connection.execute("INSERT INTO items VALUES (200, '[0,0,0,0,0,0,0,0]')")
    query = items.uniform(1, 8, seed=2)[0]
    scan = Scan("cosine", probes=5, limit=None)
    answer = items.through_index(device_connection, query, scan)
    # A zero vector has no direction: its distance is NaN, which PostgreSQL sorts behind every number.
    assert {identifier for identifier, distance in answer[180:] if math.isnan(distance)} == {*range(0, 201, 10)}
    nearest = items.exact(device_connection, query, Scan("cosine", limit=180))
    items.assert_same_answer(answer[:180], nearest)


def test_zero_query_under_cosine_is_no_error(device_connection):
    items.create_items(device_connection, items.uniform(200, 8))
    items.create_index(device_connection, 5, "cosine")
    device_connection.execute("SET enable_seqscan = off")
    device_connection.execute("SELECT id FROM items ORDER BY embedding <=> '[0,0,0,0,0,0,0,0]' LIMIT 10").fetchall()
    assert device_connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("metric", METRICS)
def test_duplicates_are_all_found(device_connection, metric):
    rows = np.tile(items.uniform(1, 16), (3_000, 1))
    items.create_items(device_connection, rows)
    items.create_index(device_connection, 20, metric)
    answer = items.through_index(device_connection, rows[0], Scan(metric, probes=20, limit=None))
    assert sorted(identifier for identifier, _ in answer) == list(range(3_000))


def test_fewer_distinct_points_than_lists(device_connection):
    rows = np.repeat(items.uniform(3, 16), 400, axis=0)
    items.create_items(device_connection, rows)
    items.create_index(device_connection, 50)
    answer = items.through_index(device_connection, rows[0], Scan(probes=1, limit=400))
    assert sorted(identifier for identifier, _ in answer) == list(range(400))


@pytest.mark.parametrize("storage", items.STORAGES)
@pytest.mark.parametrize("dims", [1, 3, 2_047, 4_001, 16_000])
def test_any_dimension_is_searched_exactly_with_all_probes(device_connection, dims, storage):
    rows = items.uniform(60, dims)
    items.create_items(device_connection, rows)
    items.create_index(device_connection, 4, storage=storage)
    device_connection.execute("DELETE FROM items WHERE id < 10")
    items.copy_vectors(device_connection, "items", items.uniform(20, dims, seed=3), first_id=100)
    items.vacuum(device_connection)
    scan = Scan(probes=4, limit=None)
    items.assert_same_answer(
        items.through_index(device_connection, rows[20], scan), items.exact(device_connection, rows[20], scan)
    )
    assert items.verify(device_connection) == 70


@pytest.mark.parametrize("storage", items.STORAGES)
def test_huge_and_tiny_values_keep_their_order(connection, storage):
    # 1e5 is beyond binary16, 1e-6 below its normal range: the stored code is useless, the answer must not be.
    rows = items.uniform(300, 8) * np.repeat(np.float32([1e5, 1.0, 1e-6]), 100)[:, None]
    items.create_items(connection, rows)
    items.create_index(connection, 5, storage=storage)
    for query in (rows[0], rows[150], rows[250]):
        scan = Scan(probes=5, limit=None)
        items.assert_same_answer(items.through_index(connection, query, scan), items.exact(connection, query, scan))


def test_unlogged_table_is_empty_and_usable_after_a_crash(make_cluster):
    cluster = make_cluster()
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vectorgpu")
        items.create_items(connection, items.uniform(1_000, 16), "UNLOGGED")
        items.create_index(connection, 10)
        assert items.indexed_ids(connection, 10) == list(range(1_000))
    cluster.crash()
    cluster.start()
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        assert items.indexed_ids(connection, 10) == []
        items.copy_vectors(connection, "items", items.uniform(1_000, 16))
        assert items.indexed_ids(connection, 10) == list(range(1_000))
        assert items.verify(connection) == 1_000


@pytest.mark.parametrize(
    "command", ["REINDEX INDEX items_ivf", "REINDEX INDEX CONCURRENTLY items_ivf", "VACUUM FULL items"]
)
def test_rebuilding_keeps_every_row(connection, command):
    items.create_items(connection, items.uniform(2_000, 16))
    items.create_index(connection, 10)
    connection.execute("DELETE FROM items WHERE id < 500")
    connection.execute(command)
    assert items.indexed_ids(connection, 10) == list(range(500, 2_000))
    assert items.verify(connection) == 1_500


def test_truncated_table_takes_rows_again(connection):
    items.create_items(connection, items.uniform(2_000, 16))
    items.create_index(connection, 10)
    connection.execute("TRUNCATE items")
    assert items.indexed_ids(connection, 10) == []
    items.copy_vectors(connection, "items", items.uniform(100, 16))
    assert items.indexed_ids(connection, 10) == list(range(100))


def test_rolled_back_insert_is_not_seen(connection):
    items.create_items(connection, items.uniform(100, 16))
    items.create_index(connection, 10)
    with connection.transaction(force_rollback=True):
        items.copy_vectors(connection, "items", items.uniform(100, 16, seed=5), first_id=100)
        assert items.indexed_ids(connection, 10) == list(range(200))
    assert items.indexed_ids(connection, 10) == list(range(100))
