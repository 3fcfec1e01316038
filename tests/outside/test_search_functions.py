"""vectorgpu.search and vectorgpu.exact_search: the same rows as ORDER BY with LIMIT, for many queries at once."""

from __future__ import annotations

import threading
import time

import items
import numpy as np
import psycopg
import pytest
from items import METRICS, STORAGES, Scan
from vectors import vector_text

NAMES = {"l2": "l2", "ip": "inner_product", "cosine": "cosine"}

Answers = list[list[items.Row]]


def array(queries: np.ndarray) -> list[str]:
    """The queries as psycopg passes a vector[]."""
    return [vector_text(query) for query in queries]


def answers(connection: psycopg.Connection, sql: str, arguments: tuple, queries: int) -> Answers:
    """(id, distance) of each query's rows in the order of their rank, the rows looked up by their tid."""
    rows = connection.execute(
        f"SELECT s.query, s.rank, i.id, s.distance FROM {sql} s LEFT JOIN items i ON i.ctid = s.tid ORDER BY 1, 2",
        arguments,
    ).fetchall()
    found: Answers = [[] for _ in range(queries)]
    for query, rank, identifier, distance in rows:
        assert identifier is not None, "a tid names no visible row"
        found[query - 1].append((identifier, distance))
        assert rank == len(found[query - 1]), "ranks count from 1"
    return found


def searched(
    connection: psycopg.Connection, queries: np.ndarray, k: int = 10, probes: int = 0, index: str = "items_ivf"
) -> Answers:
    """What vectorgpu.search finds."""
    sql = "vectorgpu.search(%s::regclass, %s::vector[], %s, %s)"
    return answers(connection, sql, (index, array(queries), k, probes), len(queries))


def exactly(connection: psycopg.Connection, queries: np.ndarray, k: int = 10, metric: str = "l2") -> Answers:
    """What vectorgpu.exact_search finds in `items`."""
    sql = "vectorgpu.exact_search('items', 'embedding', %s::vector[], %s, %s)"
    return answers(connection, sql, (array(queries), k, NAMES[metric]), len(queries))


def assert_refused(connection: psycopg.Connection, call: str, sqlstate: str) -> None:
    """Asserts that a role which may read every table but `secret` is refused `call`. `rules` has row-level security,
    `parts` is partitioned, `viewed` a view; `longer` and `mixed` hold vectors of other dimensions."""
    items.create_items(connection, items.uniform(10, 3))
    items.create_index(connection, 1)
    connection.execute("CREATE TABLE parts (id int, embedding vector(3)) PARTITION BY RANGE (id)")
    connection.execute("CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10)")
    connection.execute("CREATE INDEX parts_ivf ON parts USING ivf (embedding vector_l2_ops)")
    connection.execute("CREATE VIEW viewed AS SELECT * FROM items")
    connection.execute("CREATE TABLE longer AS SELECT '[1,2,3,4]'::vector(4) AS embedding")
    connection.execute("CREATE TABLE mixed AS SELECT e::vector AS embedding FROM unnest(ARRAY['[1,2,3]', '[1,2]']) e")
    for name in ("secret", "rules"):
        connection.execute(f"CREATE TABLE {name} (embedding vector(3))")
        connection.execute(f"CREATE INDEX {name}_ivf ON {name} USING ivf (embedding vector_l2_ops)")
    connection.execute("ALTER TABLE rules ENABLE ROW LEVEL SECURITY")
    connection.execute("DROP ROLE IF EXISTS reader")
    connection.execute("CREATE ROLE reader")
    connection.execute("GRANT SELECT ON items, parts, viewed, longer, mixed, rules TO reader")
    try:
        connection.execute("SET ROLE reader")
        with pytest.raises(psycopg.Error) as error:
            connection.execute(f"SELECT * FROM {call}")
        assert error.value.sqlstate == sqlstate, error.value
    finally:
        connection.execute("RESET ROLE")
        connection.execute("DROP OWNED BY reader")
        connection.execute("DROP ROLE reader")


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("metric", METRICS)
def test_search_returns_what_order_by_returns(connection, metric, storage):
    items.create_items(connection, items.uniform(3_000, 24))
    items.create_index(connection, 20, metric, storage)
    queries = items.uniform(20, 24, seed=2)
    for probes in (3, 20):
        found = searched(connection, queries, 10, probes)
        for query, rows in zip(queries, found, strict=True):
            items.assert_same_answer(rows, items.through_index(connection, query, Scan(metric, probes)))
    everything = searched(connection, queries[:2], 5_000, 20)
    for query, rows in zip(queries, everything[:2], strict=False):
        items.assert_same_answer(rows, items.exact(connection, query, Scan(metric, limit=None)))


def test_search_on_the_gpu_returns_the_same_rows(device_connection):
    items.create_items(device_connection, items.uniform(2_000, 24))
    items.create_index(device_connection, 10, storage="f32")
    queries = items.uniform(5, 24, seed=2)
    for query, rows in zip(queries, searched(device_connection, queries, 10, 10), strict=True):
        items.assert_same_answer(rows, items.exact(device_connection, query, Scan()))


@pytest.mark.parametrize("metric", METRICS)
def test_exact_search_returns_what_a_sort_returns(connection, metric):
    rows = items.uniform(2_000, 24)
    rows[::50] = 0
    items.create_items(connection, rows)
    connection.execute("INSERT INTO items VALUES (5000, NULL)")
    queries = items.uniform(20, 24, seed=2)
    limit = 1_500
    for query, found in zip(queries, exactly(connection, queries, limit, metric), strict=True):
        items.assert_same_answer(found, items.exact(connection, query, Scan(metric, limit=limit)))


def test_exact_search_in_several_passes_returns_the_same(connection):
    items.create_items(connection, items.uniform(2_000, 8))
    queries = items.uniform(40, 8, seed=2)
    in_one_pass = exactly(connection, queries, 1_000)
    connection.execute("SET work_mem = '64kB'")
    assert exactly(connection, queries, 1_000) == in_one_pass


def test_only_rows_that_the_snapshot_sees_are_returned(connection, database):
    items.create_items(connection, items.uniform(1_000, 8))
    items.create_index(connection, 4)
    connection.execute("DELETE FROM items WHERE id < 300")
    # A version that is not indexed anew, and one that is.
    connection.execute("ALTER TABLE items ADD COLUMN note text")
    connection.execute("UPDATE items SET note = 'x' WHERE id BETWEEN 300 AND 400")
    connection.execute("UPDATE items SET embedding = embedding WHERE id BETWEEN 500 AND 600")
    queries = items.uniform(3, 8, seed=2)
    with psycopg.connect(database) as other:
        items.copy_vectors(other, "items (id, embedding)", items.uniform(200, 8, seed=3), first_id=2_000)
        assert len(searched(other, queries, 2_000, 4)[0]) == 900, "its own rows"
        for _ in range(2):
            for query, found, scanned in zip(
                queries, searched(connection, queries, 2_000, 4), exactly(connection, queries, 2_000), strict=True
            ):
                expected = items.exact(connection, query, Scan(limit=None))
                assert len(expected) == 700
                items.assert_same_answer(found, expected)
                items.assert_same_answer(scanned, expected)
            # Line pointers that only redirect, on pages that all see.
            items.vacuum(connection)
        other.rollback()


def test_search_of_a_partial_index_on_an_expression(connection):
    items.create_items(connection, items.uniform(1_000, 8))
    for storage in STORAGES:
        connection.execute(
            "CREATE INDEX items_ivf ON items USING ivf (((embedding + embedding)::vector(8)) vector_l2_ops)"
            f" WITH (lists = 4, storage = '{storage}') WHERE id < 100"
        )
        (found,) = searched(connection, items.uniform(1, 8, seed=2), 1_000, 4)
        query = vector_text(items.uniform(1, 8, seed=2)[0])
        expected = connection.execute(
            "SELECT id, embedding + embedding <-> %s::vector FROM items WHERE id < 100 ORDER BY 2", (query,)
        ).fetchall()
        items.assert_same_answer(found, expected)
        connection.execute("DROP INDEX items_ivf")


def test_settings_of_the_session_apply_and_come_back(connection):
    items.create_items(connection, items.uniform(2_000, 8))
    items.create_index(connection, 20)
    queries = items.uniform(1, 8, seed=2)
    probed = "SELECT lists_probed FROM vectorgpu.last_scan()"
    connection.execute("SET vectorgpu.iterative_scan = off")
    connection.execute("SET vectorgpu.probes = 2")
    searched(connection, queries, 5)
    assert connection.execute(probed).fetchone() == (2,)
    searched(connection, queries, 5, probes=7)
    assert connection.execute(probed).fetchone() == (7,)
    assert connection.execute("SHOW vectorgpu.probes").fetchone() == ("2",)
    with pytest.raises(psycopg.errors.DataException):
        searched(connection, items.uniform(1, 9), 5, probes=7)
    assert connection.execute("SHOW vectorgpu.probes").fetchone() == ("2",)
    assert len(searched(connection, queries, 2_000, probes=1)[0]) < 2_000
    connection.execute("SET vectorgpu.iterative_scan = relaxed_order")
    (found,) = searched(connection, queries, 2_000, probes=1)
    assert len(found) == 2_000
    items.assert_sorted(found)


def test_variables_of_plpgsql_are_searched_for_as_they_are(connection):
    items.create_items(connection, items.uniform(300, 4))
    items.create_index(connection, 3)
    connection.execute("""
        CREATE FUNCTION found(queries vector[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
        DECLARE
            kept vector[] := queries;
            changed vector[] := queries;
        BEGIN
            RETURN QUERY SELECT 'kept ' || s FROM vectorgpu.search('items_ivf', kept, 2) s;
            changed[2] := '[9,9,9,9]';
            changed := changed || '[1,0,1,0]'::vector;
            RETURN QUERY SELECT 'changed ' || s FROM vectorgpu.search('items_ivf', changed, 2) s;
            RETURN QUERY SELECT 'kept ' || s FROM vectorgpu.search('items_ivf', kept, 2) s;
        END $$""")
    queries = ["[0,1,0,1]", "[1,1,1,1]", "[0,0,0,0]"]
    changed = [queries[0], "[9,9,9,9]", queries[2], "[1,0,1,0]"]

    def plain(name: str, asked: list[str]) -> list[str]:
        sql = "SELECT %s || s FROM vectorgpu.search('items_ivf', %s::vector[], 2) s"
        return [row for (row,) in connection.execute(sql, (name + " ", asked))]

    found = [row for (row,) in connection.execute("SELECT found(%s::vector[])", (queries,))]
    assert len(found) == 20
    assert found == plain("kept", queries) + plain("changed", changed) + plain("kept", queries)


def test_no_queries_give_no_rows(connection):
    items.create_items(connection, items.uniform(10, 8))
    items.create_index(connection, 1)
    assert connection.execute("SELECT * FROM vectorgpu.search('items_ivf', '{}', 5)").fetchall() == []
    exact = "SELECT * FROM vectorgpu.exact_search('items', 'embedding', '{}', 5)"
    assert connection.execute(exact).fetchall() == []
    assert connection.execute("SELECT * FROM vectorgpu.search('items_ivf', NULL, 5)").fetchall() == []


def test_search_in_a_select_list_may_be_stopped(connection):
    items.create_items(connection, items.uniform(500, 8))
    items.create_index(connection, 4)
    query = vector_text(items.uniform(1, 8)[0])
    sql = "SELECT (vectorgpu.search('items_ivf', ARRAY[%s::vector], 100)).rank LIMIT 3"
    assert connection.execute(sql, (query,)).fetchall() == [(1,), (2,), (3,)]


@pytest.mark.parametrize(
    ("call", "sqlstate"),
    [
        ("vectorgpu.search('items_ivf', ARRAY['[1,2,3]'::vector], 0)", "22023"),
        ("vectorgpu.search('items_ivf', ARRAY['[1,2,3]'::vector], 10001)", "22023"),
        ("vectorgpu.search('items_ivf', ARRAY['[1,2,3]'::vector], 5, -1)", "22023"),
        ("vectorgpu.search('items_ivf', ARRAY['[1,2,3]'::vector], 5, 32769)", "22023"),
        ("vectorgpu.search('items_ivf', ARRAY['[1,2]'::vector], 5)", "22000"),
        ("vectorgpu.search('items_ivf', ARRAY['[1,2,3]', NULL]::vector[], 5)", "22004"),
        ("vectorgpu.search('items_pkey', ARRAY['[1,2,3]'::vector], 5)", "22023"),
        ("vectorgpu.search('items', ARRAY['[1,2,3]'::vector], 5)", "22023"),
        ("vectorgpu.search('parts_ivf', ARRAY['[1,2,3]'::vector], 5)", "22023"),
        ("vectorgpu.search('secret_ivf', ARRAY['[1,2,3]'::vector], 5)", "42501"),
        ("vectorgpu.search('rules_ivf', ARRAY['[1,2,3]'::vector], 5)", "0A000"),
        ("vectorgpu.exact_search('items', 'embedding', ARRAY['[1,2,3]'::vector], 0)", "22023"),
        ("vectorgpu.exact_search('items', 'embedding', ARRAY['[1,2,3]'::vector], 5, 'l3')", "22023"),
        ("vectorgpu.exact_search('items', 'embedding', ARRAY['[1,2]'::vector], 5)", "22000"),
        ("vectorgpu.exact_search('items', 'embedding', ARRAY['[1,2,3]', '[1,2]']::vector[], 5)", "22000"),
        ("vectorgpu.exact_search('items', 'embedding', ARRAY['[1,2,3]', NULL]::vector[], 5)", "22004"),
        ("vectorgpu.exact_search('items', 'id', ARRAY['[1,2,3]'::vector], 5)", "22023"),
        ("vectorgpu.exact_search('items', 'none', ARRAY['[1,2,3]'::vector], 5)", "22023"),
        ("vectorgpu.exact_search('items', 'ctid', ARRAY['[1,2,3]'::vector], 5)", "22023"),
        ("vectorgpu.exact_search('parts', 'embedding', ARRAY['[1,2,3]'::vector], 5)", "22023"),
        ("vectorgpu.exact_search('items_ivf', 'embedding', ARRAY['[1,2,3]'::vector], 5)", "42501"),
        ("vectorgpu.exact_search('secret', 'embedding', ARRAY['[1,2,3]'::vector], 5)", "42501"),
        ("vectorgpu.exact_search('rules', 'embedding', ARRAY['[1,2,3]'::vector], 5)", "0A000"),
        ("vectorgpu.kmeans('items', 'id', 5)", "22023"),
        ("vectorgpu.kmeans('items', 'embedding', 0)", "22023"),
        ("vectorgpu.kmeans('items', 'embedding', 5, 'l3')", "22023"),
        ("vectorgpu.kmeans('secret', 'embedding', 5)", "42501"),
        ("vectorgpu.kmeans('rules', 'embedding', 5)", "0A000"),
        ("vectorgpu.exact_search(12345678, 'embedding', ARRAY['[1,2,3]'::vector], 5)", "42P01"),
    ],
)
def test_what_cannot_be_searched_is_one_clear_error(connection, call, sqlstate):
    assert_refused(connection, call, sqlstate)


def test_an_index_that_failed_to_build_is_not_searched(connection):
    items.create_items(connection, items.uniform(10, 3))
    items.create_index(connection, 1)
    connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'items_ivf'::regclass")
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="is not valid"):
        searched(connection, items.uniform(1, 3))


@pytest.mark.parametrize(
    "call",
    [
        "vectorgpu.search('items_ivf', array_agg(embedding), 100, 100) FROM items",
        "vectorgpu.exact_search('items', 'embedding', array_agg(embedding), 100) FROM items",
    ],
)
def test_a_search_can_be_cancelled_at_once(connection, call):
    items.create_items(connection, items.uniform(30_000, 128))
    items.create_index(connection, 100)
    threading.Timer(1.0, connection.cancel).start()
    started = time.monotonic()
    with pytest.raises(psycopg.errors.QueryCanceled):
        connection.execute(f"SELECT count(*) FROM (SELECT {call}) s")
    assert time.monotonic() - started < 2.0
    assert connection.execute("SELECT 1").fetchone() == (1,)


def clusters(connection: psycopg.Connection, k: int, metric: str = "l2", seed: int = 0) -> list[tuple]:
    """What vectorgpu.kmeans finds in `items`: cluster, centroid, rows."""
    sql = "SELECT cluster, centroid, rows FROM vectorgpu.kmeans('items', 'embedding', %s, %s, %s)"
    found = connection.execute(sql, (k, NAMES[metric], seed)).fetchall()
    return [(cluster, np.array(centroid[1:-1].split(","), np.float32), rows) for cluster, centroid, rows in found]


@pytest.mark.parametrize("metric", METRICS)
def test_kmeans_finds_clusters_and_counts_their_rows(device_connection, metric):
    random = np.random.default_rng(1)
    centres = np.eye(16, dtype=np.float32)[:5] * 4
    sizes = [1_000, 500, 300, 150, 50]
    rows = np.concatenate([centre + random.normal(0, 0.1, (n, 16)) for centre, n in zip(centres, sizes, strict=True)])
    items.create_items(device_connection, rows.astype(np.float32))
    device_connection.execute("INSERT INTO items VALUES (5000, NULL)")
    found = clusters(device_connection, 5, metric)
    assert sorted((rows for _, _, rows in found), reverse=True) == sizes
    for _, centroid, size in found:
        direction = centres[sizes.index(size)]
        assert centroid @ direction / np.linalg.norm(centroid) / 4 > 0.99
        if metric == "l2":
            assert np.linalg.norm(centroid - direction) < 0.1
    again = clusters(device_connection, 5, metric)
    assert [(number, list(centroid), size) for number, centroid, size in found] == [
        (number, list(centroid), size) for number, centroid, size in again
    ]


def test_kmeans_of_few_rows_and_of_none(connection):
    items.create_items(connection, items.uniform(0, 8))
    assert clusters(connection, 3) == []
    items.copy_vectors(connection, "items", items.uniform(2, 8))
    found = clusters(connection, 4)
    assert [number for number, _, _ in found] == [1, 2, 3, 4]
    assert sum(rows for _, _, rows in found) == 2
    connection.execute("SET maintenance_work_mem = '1MB'")
    with pytest.raises(psycopg.errors.ProgramLimitExceeded):
        clusters(connection, 30_000)


@pytest.mark.parametrize(
    ("isolation", "repeats", "k"),
    [("repeatable read", 1, 15), ("serializable", 1, 15), ("repeatable read", 220, 3)],
    ids=["repeatable read", "serializable", "several parts"],
)
def test_searches_beside_writers_and_vacuum_see_what_their_snapshot_sees(connection, database, isolation, repeats, k):
    """Pages become visible to all and are changed again, rows move within them, and line pointers are used again;
    between the parts of one search, too."""
    items.create_items(connection, items.uniform(2_000, 16))
    connection.execute("ALTER TABLE items ADD COLUMN note int")
    items.create_index(connection, 8, storage="f32")
    queries = items.uniform(20, 16, seed=1)
    done, errors = threading.Event(), []

    def write() -> None:
        try:
            with psycopg.connect(database, autocommit=True) as writer:
                for number in range(25):
                    # On the same page where there is room, so that the index keeps the first line pointer.
                    writer.execute("UPDATE items SET note = %s WHERE mod(id, 4) = mod(%s, 4)", (number, number))
                    first = 10_000 + 100 * number
                    rows = items.uniform(100, 16, seed=first)
                    items.copy_vectors(writer, "items (id, embedding)", rows, first_id=first)
                    writer.execute("DELETE FROM items WHERE id >= %s AND mod(id, 2) = 0", (first,))
                    writer.execute("VACUUM (INDEX_CLEANUP on) items")
        except psycopg.Error as error:
            errors.append(error)
        finally:
            done.set()

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    rounds = 0
    while not done.is_set() or rounds < 3:
        with connection.transaction():
            connection.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}")
            found = searched(connection, np.tile(queries, (repeats, 1)), k, 8)
            assert found == exactly(connection, queries, k) * repeats
        rounds += 1
    writer.join(timeout=60)
    assert not errors, errors
    items.vacuum(connection)
    assert searched(connection, queries, 15, 8) == exactly(connection, queries, 15)
