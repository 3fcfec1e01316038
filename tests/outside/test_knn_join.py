"""vectorgpu.knn_join: for each row of a table the rows that a search for it finds, in bounded memory."""

from __future__ import annotations

import re
import time

import items
import numpy as np
import psycopg
import pytest
from items import METRICS, STORAGES
from test_memory import GROWTH_LIMIT_BYTES, PrivateMemory
from test_search_functions import assert_refused
from test_standby import start_standby, wait_for_replay

# id of a row -> (id, distance) of its neighbours by rank.
Neighbours = dict[int, list[items.Row]]

OF_ITEMS = "vectorgpu.knn_join('items', 'embedding', 'items_ivf', %s, %s, %s)"


def neighbours(
    connection: psycopg.Connection, k: int, probes: int, exclude_self: bool = False, relation: str = "items"
) -> Neighbours:
    """What vectorgpu.knn_join finds for the rows of `relation` in `items`: tids are looked up, and ranks checked."""
    sql = f"""
        SELECT a.id, j.rank, b.id, j.distance
        FROM vectorgpu.knn_join('{relation}', 'embedding', 'items_ivf', %s, %s, %s) j
        LEFT JOIN {relation} a ON a.ctid = j.tid LEFT JOIN items b ON b.ctid = j.neighbour_tid ORDER BY 1, 2
    """
    found: Neighbours = {}
    for row, rank, neighbour, distance in connection.execute(sql, (k, probes, exclude_self)):
        assert row is not None and neighbour is not None, "a tid names no visible row"
        rows = found.setdefault(row, [])
        rows.append((neighbour, distance))
        assert rank == len(rows), "ranks count from 1"
    return found


def distances(queries: np.ndarray, rows: np.ndarray, metric: str) -> np.ndarray:
    """Distances of the metric's operator in f64, [queries, rows]."""
    queries, rows = queries.astype(np.float64), rows.astype(np.float64)
    products = queries @ rows.T
    if metric == "ip":
        return -products
    if metric == "cosine":
        return 1 - products / np.outer(np.linalg.norm(queries, axis=1), np.linalg.norm(rows, axis=1))
    return np.linalg.norm(queries[:, None] - rows[None], axis=2)


def assert_nearest(found: list[items.Row], truth: np.ndarray, k: int) -> None:
    """Asserts that `found` are `k` of the rows whose distances are `truth`, and none is nearer; NaN: not to be found.

    The operators sum in f32, so distances are equal up to rounding, and rows as near as each other may change places.
    """
    items.assert_sorted(found)
    identifiers = [identifier for identifier, _ in found]
    expected = np.sort(truth[~np.isnan(truth)])[:k]
    assert len(found) == len(set(identifiers)) == len(expected)
    np.testing.assert_allclose([distance for _, distance in found], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(truth[identifiers], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("metric", METRICS)
def test_all_lists_give_the_nearest_rows_of_each_row(device_connection, metric, storage):
    vectors = items.uniform(300, 24)
    items.create_items(device_connection, vectors)
    items.create_index(device_connection, 5, metric, storage)
    truth = distances(vectors, vectors, metric)
    found = neighbours(device_connection, 7, 5)
    assert sorted(found) == list(range(300))
    for row, rows in found.items():
        assert_nearest(rows, truth[row], 7)
    np.fill_diagonal(truth, np.nan)
    found = neighbours(device_connection, 7, 5, exclude_self=True)
    assert sorted(found) == list(range(300))
    for row, rows in found.items():
        assert_nearest(rows, truth[row], 7)


@pytest.mark.parametrize("storage", STORAGES)
def test_rows_of_another_table_and_few_lists_give_what_search_gives(connection, storage):
    items.create_items(connection, items.uniform(3_000, 24))
    items.create_index(connection, 20, storage=storage)
    connection.execute("CREATE TABLE queries (id int, dropped text, embedding vector(24))")
    items.copy_vectors(connection, "queries (id, embedding)", items.uniform(50, 24, seed=2))
    connection.execute("INSERT INTO queries VALUES (100, 'x', NULL)")
    connection.execute("ALTER TABLE queries DROP COLUMN dropped")
    searched = """
        SELECT q.ids[s.query], s.rank, s.tid, s.distance
        FROM (SELECT array_agg(id) AS ids, array_agg(embedding) AS vectors FROM queries WHERE id < 100) q,
            vectorgpu.search('items_ivf', q.vectors, 5, 3) s ORDER BY 1, 2
    """
    joined = """
        SELECT q.id, j.rank, j.neighbour_tid, j.distance
        FROM vectorgpu.knn_join('queries', 'embedding', 'items_ivf', 5, 3) j
        JOIN queries q ON q.ctid = j.tid ORDER BY 1, 2
    """
    rows = connection.execute(joined).fetchall()
    assert len(rows) == 250
    assert rows == connection.execute(searched).fetchall()


def test_probes_come_from_the_session_and_come_back(connection):
    items.create_items(connection, items.uniform(2_000, 8))
    items.create_index(connection, 20)
    connection.execute("SET vectorgpu.iterative_scan = off")
    connection.execute("SET vectorgpu.probes = 2")
    probed = "SELECT lists_probed FROM vectorgpu.last_scan()"
    for probes, expected in ((0, 2), (7, 7)):
        neighbours(connection, 3, probes)
        # All rows are searched for at once.
        assert connection.execute(probed).fetchone() == (expected * 2_000,)
        assert connection.execute("SHOW vectorgpu.probes").fetchone() == ("2",)


def test_duplicates_are_neighbours_at_distance_0_and_never_the_row_itself(connection):
    vectors = items.uniform(200, 16)
    items.create_items(connection, np.concatenate([vectors, vectors, vectors]))
    items.create_index(connection, 4)
    for row, rows in neighbours(connection, 3, 4).items():
        assert [distance for _, distance in rows] == [0, 0, 0]
        assert {identifier for identifier, _ in rows} == {row % 200 + copy for copy in (0, 200, 400)}
    # With one neighbour, a row may be beyond the first two of three at the same distance.
    for k in (1, 2):
        for row, rows in neighbours(connection, k, 4, exclude_self=True).items():
            assert [distance for _, distance in rows] == [0] * k
            others = {row % 200 + copy for copy in (0, 200, 400)} - {row}
            assert {identifier for identifier, _ in rows} <= others


def test_pairs_of_near_duplicates_are_found_once(connection):
    vectors = items.uniform(500, 16)
    near = vectors[:20] + np.float32(0.001)
    items.create_items(connection, np.concatenate([vectors, near]))
    connection.execute("CREATE INDEX ON items USING ivf (embedding vector_l2_ops) WITH (lists = 4)")
    found = connection.execute("""
        SELECT DISTINCT least(a.id, b.id) AS first, greatest(a.id, b.id) AS duplicate, j.distance
        FROM vectorgpu.knn_join('items', 'embedding', 'items_embedding_idx', 5, exclude_self => true) j
        JOIN items a ON a.ctid = j.tid
        JOIN items b ON b.ctid = j.neighbour_tid
        WHERE j.distance < 0.1 ORDER BY 1, 2
    """).fetchall()
    assert [(first, duplicate) for first, duplicate, _ in found] == [(row, 500 + row) for row in range(20)]


@pytest.mark.parametrize("storage", ["f32", "rabitq"])
def test_only_rows_that_the_snapshot_sees_are_joined(connection, database, storage):
    vectors = items.uniform(1_000, 8)
    items.create_items(connection, vectors)
    items.create_index(connection, 4, storage=storage)
    connection.execute("DELETE FROM items WHERE id < 300")
    # A version that is not indexed anew, one that is, one that lies elsewhere, and one without a vector.
    connection.execute("ALTER TABLE items ADD COLUMN note text")
    connection.execute("UPDATE items SET note = 'x' WHERE id BETWEEN 300 AND 400")
    connection.execute("UPDATE items SET embedding = embedding WHERE id BETWEEN 500 AND 600")
    connection.execute("""
        UPDATE items SET embedding = other.embedding FROM items other
        WHERE items.id BETWEEN 700 AND 709 AND other.id = items.id + 100
    """)
    connection.execute("UPDATE items SET embedding = NULL WHERE id BETWEEN 900 AND 909")
    vectors[700:710] = vectors[800:810]
    gone = [*range(300), *range(900, 910)]
    truth = distances(vectors, vectors, "l2")
    truth[:, gone] = np.nan
    np.fill_diagonal(truth, np.nan)
    with psycopg.connect(database) as other:
        items.copy_vectors(other, "items (id, embedding)", items.uniform(200, 8, seed=3), first_id=2_000)
        assert len(neighbours(other, 1, 4)) == 690 + 200, "its own rows"
        for _ in range(2):
            found = neighbours(connection, 5, 4, exclude_self=True)
            assert sorted(found) == sorted(set(range(1_000)) - set(gone))
            for row, rows in found.items():
                assert_nearest(rows, truth[row], 5)
            # Line pointers that only redirect, on pages that all see.
            items.vacuum(connection)
        other.rollback()


def test_a_cursor_returns_what_its_snapshot_sees(connection):
    items.create_items(connection, items.uniform(500, 8))
    items.create_index(connection, 4)
    before = neighbours(connection, 3, 4, exclude_self=True)
    with connection.transaction():
        connection.execute(f"DECLARE joined CURSOR FOR SELECT distance FROM {OF_ITEMS} ORDER BY 1", (3, 4, True))
        connection.execute("DELETE FROM items WHERE id < 400")
        found = connection.execute("FETCH ALL FROM joined").fetchall()
    assert [distance for (distance,) in found] == sorted(d for rows in before.values() for _, d in rows)
    assert len(neighbours(connection, 3, 4)) == 100


def test_blocks_of_any_size_give_the_same(connection):
    items.create_items(connection, items.uniform(6_000, 16))
    items.create_index(connection, 10)
    # 4,096 rows at once, and 700 of them.
    at_once = neighbours(connection, 3, 2)
    connection.execute("SET work_mem = '64kB'")
    assert neighbours(connection, 3, 2) == at_once


def test_a_row_larger_than_work_mem_is_joined(connection):
    connection.execute("CREATE TABLE items (id int, embedding vector(16000))")
    items.copy_vectors(connection, "items", items.uniform(9, 16_000))
    connection.execute("CREATE INDEX items_ivf ON items USING ivf (embedding vector_l2_ops) WITH (lists = 1)")
    connection.execute("SET work_mem = '64kB'")
    connection.execute("UPDATE items SET embedding = embedding WHERE id < 3")
    assert neighbours(connection, 1, 1) == {row: [(row, 0.0)] for row in range(9)}


def test_no_rows_and_nulls_give_nothing(connection):
    items.create_items(connection, items.uniform(0, 8))
    items.create_index(connection, 1)
    assert neighbours(connection, 5, 1, exclude_self=True) == {}
    connection.execute("INSERT INTO items VALUES (1, NULL)")
    assert neighbours(connection, 5, 1) == {}
    connection.execute("INSERT INTO items VALUES (2, '[1,2,3,4,5,6,7,8]')")
    assert neighbours(connection, 5, 1) == {2: [(2, 0.0)]}
    assert neighbours(connection, 5, 1, exclude_self=True) == {}
    given = ["'items'", "'embedding'", "'items_ivf'", "5", "1", "true"]
    for place in range(len(given)):
        arguments = ", ".join([*given[:place], "NULL", *given[place + 1 :]])
        assert connection.execute(f"SELECT * FROM vectorgpu.knn_join({arguments})").fetchall() == []


def test_materialized_views_and_temporary_tables_are_joined(connection):
    vectors = items.uniform(300, 8)
    connection.execute("CREATE TEMP TABLE source (id int, embedding vector(8))")
    items.copy_vectors(connection, "source", vectors)
    connection.execute("CREATE TABLE stored AS SELECT * FROM source")
    connection.execute("CREATE MATERIALIZED VIEW items AS SELECT * FROM stored")
    connection.execute("CREATE INDEX items_ivf ON items USING ivf (embedding vector_l2_ops) WITH (lists = 2)")
    truth = distances(vectors, vectors, "l2")
    for row, rows in neighbours(connection, 4, 2, relation="source").items():
        assert_nearest(rows, truth[row], 4)
    np.fill_diagonal(truth, np.nan)
    found = neighbours(connection, 4, 2, exclude_self=True)
    assert len(found) == 300
    for row, rows in found.items():
        assert_nearest(rows, truth[row], 4)


def test_another_sessions_temporary_table_is_refused(connection, database):
    items.create_items(connection, items.uniform(10, 3))
    items.create_index(connection, 1)
    with psycopg.connect(database, autocommit=True) as other:
        other.execute("CREATE TEMP TABLE theirs (embedding vector(3))")
        other.execute("CREATE INDEX theirs_ivf ON theirs USING ivf (embedding vector_l2_ops) WITH (lists = 1)")
        (schema,) = other.execute("SELECT pg_my_temp_schema()::regnamespace::text").fetchone()
        for relation, index in ((f"{schema}.theirs", "items_ivf"), ("items", f"{schema}.theirs_ivf")):
            sql = f"SELECT * FROM vectorgpu.knn_join('{relation}', 'embedding', '{index}', 5)"
            with pytest.raises(psycopg.errors.FeatureNotSupported, match="belongs to another session"):
                connection.execute(sql)


@pytest.mark.parametrize(
    ("arguments", "sqlstate"),
    [
        ("'items', 'embedding', 'items_ivf', 0", "22023"),
        ("'items', 'embedding', 'items_ivf', 10001", "22023"),
        ("'items', 'embedding', 'items_ivf', 5, -1", "22023"),
        ("'items', 'embedding', 'items_ivf', 5, 32769", "22023"),
        ("'items', 'id', 'items_ivf', 5", "22023"),
        ("'items', 'none', 'items_ivf', 5", "22023"),
        ("'items', 'ctid', 'items_ivf', 5", "22023"),
        ("'items', 'embedding', 'items', 5", "22023"),
        ("'items', 'embedding', 'items_pkey', 5", "22023"),
        ("'items', 'embedding', 'parts_ivf', 5", "22023"),
        ("'parts', 'embedding', 'items_ivf', 5", "22023"),
        ("'viewed', 'embedding', 'items_ivf', 5", "22023"),
        ("'longer', 'embedding', 'items_ivf', 5", "22000"),
        ("'mixed', 'embedding', 'items_ivf', 5", "22000"),
        ("'mixed', 'embedding', 'items_ivf', 5, 0, true", "22023"),
        ("'secret', 'embedding', 'items_ivf', 5", "42501"),
        ("'items', 'embedding', 'secret_ivf', 5", "42501"),
        ("'rules', 'embedding', 'items_ivf', 5", "0A000"),
        ("'items', 'embedding', 'rules_ivf', 5", "0A000"),
        ("12345678, 'embedding', 'items_ivf', 5", "42P01"),
        ("'items', 'embedding', 12345678, 5", "22023"),
    ],
)
def test_what_cannot_be_joined_is_one_clear_error(connection, arguments, sqlstate):
    assert_refused(connection, f"vectorgpu.knn_join({arguments})", sqlstate)


def test_an_index_that_failed_to_build_is_not_joined(connection):
    items.create_items(connection, items.uniform(10, 3))
    items.create_index(connection, 1)
    connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'items_ivf'::regclass")
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="is not valid"):
        neighbours(connection, 1, 1)


def notices_until_cancelled(connection: psycopg.Connection, relation: str, timeout_s: float) -> list[str]:
    """Joins `relation` with `items`, which takes longer than `timeout_s`, until statement_timeout ends it; returns the
    notices of it."""
    notices: list[str] = []

    def keep(notice: psycopg.errors.Diagnostic) -> None:
        notices.append(notice.message_primary)

    connection.add_notice_handler(keep)
    sql = f"SELECT count(*) FROM vectorgpu.knn_join('{relation}', 'embedding', 'items_ivf', 100, 100)"
    connection.execute("SELECT set_config('statement_timeout', %s, false)", (f"{timeout_s}s",))
    started = time.monotonic()
    with pytest.raises(psycopg.errors.QueryCanceled):
        connection.execute(sql)
    assert time.monotonic() - started < timeout_s + 1
    connection.remove_notice_handler(keep)
    connection.execute("RESET statement_timeout")
    return notices


def test_notices_say_how_far_it_is_until_a_timeout_stops_it(connection):
    items.create_items(connection, items.uniform(30_000, 128))
    items.create_index(connection, 100)
    connection.execute("SET vectorgpu.progress_interval = '1s'")
    notices = notices_until_cancelled(connection, "items", 3.5)
    assert 1 <= len(notices) <= 3
    parts = [re.fullmatch(r"knn_join: (\d+) of about 30000 rows \((\d+) %\)", notice) for notice in notices]
    assert all(parts), notices
    done = [int(part[1]) for part in parts]
    assert done == sorted(set(done)) and done[0] > 0
    assert [int(part[2]) for part in parts] == [rows * 100 // 30_000 for rows in done]
    connection.execute("CREATE TABLE uncounted (embedding vector(128)) WITH (autovacuum_enabled = off)")
    connection.execute("INSERT INTO uncounted SELECT embedding FROM items")
    notices = notices_until_cancelled(connection, "uncounted", 2.5)
    assert notices and all(re.fullmatch(r"knn_join: \d+ rows", notice) for notice in notices), notices
    connection.execute("SET vectorgpu.progress_interval = 0")
    assert notices_until_cancelled(connection, "items", 2.5) == []


def test_memory_is_flat_over_many_rows(connection):
    items.create_items(connection, items.uniform(2_000, 32))
    items.create_index(connection, 40)
    connection.execute("SET work_mem = '256kB'")
    connection.execute("CREATE TABLE queries (id int, embedding vector(32))")
    peaks = []
    for first_id, rows in ((0, 2_000), (2_000, 38_000)):
        items.copy_vectors(connection, "queries", items.uniform(rows, 32, seed=first_id), first_id)
        with PrivateMemory(connection.info.backend_pid) as memory:
            sql = "SELECT count(*) FROM vectorgpu.knn_join('queries', 'embedding', 'items_ivf', 10, 1)"
            assert connection.execute(sql).fetchone() == ((first_id + rows) * 10,)
        peaks.append(memory.peak_bytes)
    assert peaks[1] - peaks[0] < GROWTH_LIMIT_BYTES, f"2,000 and 40,000 rows took {peaks}"


def test_a_standby_joins_as_its_primary_does(make_cluster):
    primary = make_cluster()
    with psycopg.connect(primary.dsn(), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vectorgpu")
        items.create_items(connection, items.uniform(2_000, 16))
        items.create_index(connection, 10)
        standby = make_cluster.adopt(start_standby(primary))
        connection.execute("DELETE FROM items WHERE mod(id, 7) = 0")
        with psycopg.connect(standby.dsn(), autocommit=True) as replica:
            wait_for_replay(connection, replica)
            found = neighbours(replica, 5, 3, exclude_self=True)
            assert found == neighbours(connection, 5, 3, exclude_self=True)
            assert len(found) == 1_714
