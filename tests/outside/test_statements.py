"""How statements reach the index: generic plans, functions, cursors, joins; and extended statistics."""

from __future__ import annotations

import items
import numpy as np
import psycopg
import pytest
from vectors import vector_text

ROWS, DIMS, LISTS = 3_000, 16, 12


@pytest.fixture
def table(connection: psycopg.Connection) -> psycopg.Connection:
    """The connection, with the indexed table `items`, whose plans take the index and all of its lists."""
    items.create_items(connection, items.uniform(ROWS, DIMS))
    items.create_index(connection, LISTS)
    # The driver's own prepared statements go with a DROP, and take those of the tests along.
    connection.prepare_threshold = None
    connection.execute("SET enable_seqscan = off")
    connection.execute(f"SET vectorgpu.probes = {LISTS}")
    return connection


def truth(connection: psycopg.Connection, query: np.ndarray, limit: int = 10) -> list[int]:
    """The ids of the nearest rows of all; random vectors have no ties."""
    return [identifier for identifier, _ in exact(connection, query, limit)]


def exact(connection: psycopg.Connection, query: np.ndarray, limit: int = 10) -> list[items.Row]:
    """(id, distance) of the nearest rows of all."""
    with connection.transaction():
        connection.execute("SET LOCAL enable_seqscan = on")
        return items.exact(connection, query, items.Scan(limit=limit))


def queries(count: int = 5) -> list[np.ndarray]:
    """Vectors to search for."""
    return list(items.uniform(count, DIMS, seed=3))


def explain(connection: psycopg.Connection, sql: str) -> str:
    """The plan of a statement."""
    return "\n".join(line for (line,) in connection.execute("EXPLAIN " + sql, prepare=False))


def ids(connection: psycopg.Connection, sql: str) -> list[int]:
    """The first column of what a statement returns."""
    return [row[0] for row in connection.execute(sql, prepare=False)]


def assert_index_was_used(connection: psycopg.Connection) -> None:
    """Asserts that the session's last scan was one of the index: there is none before the first."""
    assert connection.execute("SELECT index::text FROM vectorgpu.last_scan()").fetchall() == [("items_ivf",)]


def test_a_generic_plan_takes_the_index_for_a_vector_that_is_a_parameter(table):
    table.execute("SET plan_cache_mode = force_generic_plan")
    table.execute("PREPARE nearest(vector, int) AS SELECT id FROM items ORDER BY embedding <-> $1 LIMIT $2")
    for limit, query in enumerate(queries(), 5):
        call = f"EXECUTE nearest('{vector_text(query)}', {limit})"
        plan = explain(table, call)
        assert "Index Scan using items_ivf" in plan and "Order By: (embedding <-> $1)" in plan, plan
        assert ids(table, call) == truth(table, query, limit)
    # A parameter of another type is cast once, and NULL has no nearest rows to speak of.
    table.execute("PREPARE of_array(real[]) AS SELECT id FROM items ORDER BY embedding <-> $1::vector LIMIT 10")
    query = queries(1)[0]
    call = f"EXECUTE of_array('{{{','.join(str(x) for x in query)}}}')"
    assert "Order By: (embedding <-> ($1)::vector)" in explain(table, call)
    assert ids(table, call) == truth(table, query)
    assert len(ids(table, "EXECUTE nearest(NULL, 10)")) == 10


def test_a_generic_plan_outlives_changes_of_the_index(table):
    table.execute("SET plan_cache_mode = force_generic_plan")
    table.execute("PREPARE nearest(vector) AS SELECT id FROM items ORDER BY embedding <-> $1 LIMIT 10")
    query = queries(1)[0]
    call = f"EXECUTE nearest('{vector_text(query)}')"
    for change in (
        "REINDEX INDEX items_ivf",
        "INSERT INTO items SELECT id + 10000, embedding + embedding FROM items WHERE id < 100",
        "ALTER INDEX items_ivf SET (probes = 3)",
        "VACUUM FULL items",
    ):
        table.execute(change)
        assert ids(table, call) == truth(table, query), change
        assert "items_ivf" in explain(table, call), change
    table.execute("DROP INDEX items_ivf")
    assert ids(table, call) == truth(table, query)


@pytest.mark.parametrize("mode", ["auto", "force_generic_plan", "force_custom_plan"])
def test_a_plpgsql_function_searches_for_the_value_of_a_variable(table, mode):
    table.execute(f"SET plan_cache_mode = {mode}")
    table.execute("""
        CREATE FUNCTION nearest(query real[], k int) RETURNS TABLE (found int, far float8) LANGUAGE plpgsql STABLE AS $$
        DECLARE
            target vector(16) := query;
        BEGIN
            target := target + array_fill(0::real, ARRAY[16])::vector;
            RETURN QUERY SELECT id, embedding <-> target FROM items ORDER BY embedding <-> target LIMIT k;
        END $$
    """)
    # More calls than it takes a plan to become generic.
    for query in queries(8):
        array = "{" + ",".join(str(x) for x in query) + "}"
        found = table.execute("SELECT found, far FROM nearest(%s::real[], 10)", (array,), prepare=False).fetchall()
        assert_index_was_used(table)
        assert found == exact(table, query)


def test_a_plpgsql_loop_stops_when_it_has_seen_enough(table):
    table.execute("""
        CREATE FUNCTION near_and_even(query vector, k int) RETURNS SETOF int LANGUAGE plpgsql STABLE AS $$
        DECLARE
            each record;
            seen int := 0;
        BEGIN
            FOR each IN SELECT id FROM items ORDER BY embedding <-> query LOOP
                CONTINUE WHEN each.id % 2 = 1;
                RETURN NEXT each.id;
                seen := seen + 1;
                EXIT WHEN seen = k;
            END LOOP;
        END $$
    """)
    query = queries(1)[0]
    found = ids(table, f"SELECT near_and_even('{vector_text(query)}', 10)")
    assert_index_was_used(table)
    assert found == [identifier for identifier in truth(table, query, 100) if identifier % 2 == 0][:10]


@pytest.mark.parametrize("hold", ["", "WITH HOLD"])
def test_cursors_return_rows_in_order_and_do_not_disturb_each_other(table, hold):
    searched = dict(zip("ab", queries(2), strict=True))
    expected = {cursor: truth(table, query, 148) for cursor, query in searched.items()}
    found: dict[str, list[int]] = {cursor: [] for cursor in searched}
    with table.transaction():
        for cursor, query in searched.items():
            search = f"SELECT id FROM items ORDER BY embedding <-> '{vector_text(query)}'"
            declare = f"DECLARE {cursor} CURSOR {hold} FOR {search}"
            plan = explain(table, declare)
            assert "Index Scan using items_ivf" in plan and "Sort" not in plan, plan
            table.execute(declare)
        for count in (1, 7, 40):
            for cursor in searched:
                found[cursor] += ids(table, f"FETCH {count} FROM {cursor}")
        # A cursor that is open still sees what is deleted now; one that is held, what it saw.
        table.execute("DELETE FROM items WHERE id % 10 = 0")
        if not hold:
            for cursor in searched:
                found[cursor] += ids(table, f"FETCH 100 FROM {cursor}")
    if hold:
        table.execute("VACUUM items")
        for cursor in searched:
            found[cursor] += ids(table, f"FETCH 100 FROM {cursor}")
    assert found == expected


def test_a_scroll_cursor_goes_back_over_the_same_rows(table):
    query = queries(1)[0]
    expected = truth(table, query, 30)
    with table.transaction():
        table.execute(
            f"DECLARE c SCROLL CURSOR FOR SELECT id FROM items ORDER BY embedding <-> '{vector_text(query)}' LIMIT 30"
        )
        assert ids(table, "FETCH 20 FROM c") == expected[:20]
        assert ids(table, "FETCH BACKWARD 5 FROM c") == expected[14:19][::-1]
        assert ids(table, "FETCH ABSOLUTE 3 FROM c") == expected[2:3]
        table.execute("MOVE FORWARD ALL IN c")
        assert ids(table, "FETCH PRIOR FROM c") == expected[-1:]
        assert ids(table, "FETCH FIRST FROM c") == expected[:1]


def test_a_cursor_goes_on_after_a_savepoint_is_rolled_back(table):
    query = queries(1)[0]
    expected = truth(table, query, 300)
    with table.transaction():
        table.execute(f"DECLARE c CURSOR FOR SELECT id FROM items ORDER BY embedding <-> '{vector_text(query)}'")
        found = ids(table, "FETCH 50 FROM c")
        with pytest.raises(psycopg.errors.DivisionByZero), table.transaction():
            found += ids(table, "FETCH 50 FROM c")
            table.execute("SELECT 1 / 0")
        found += ids(table, "FETCH 200 FROM c")
    assert found == expected


def test_a_lateral_join_searches_once_for_each_row(table):
    table.execute(f"CREATE TABLE asked (number int, query vector({DIMS}))")
    items.copy_vectors(table, "asked", np.array(queries(20)))
    table.execute("ANALYZE asked")
    sql = """
        SELECT number, near.id FROM asked
        CROSS JOIN LATERAL (SELECT id FROM items ORDER BY embedding <-> query LIMIT 5) near ORDER BY number
    """
    plan = explain(table, sql)
    assert "Nested Loop" in plan and "Order By: (embedding <-> asked.query)" in plan, plan
    found = table.execute(sql).fetchall()
    assert found == [(number, row) for number, query in enumerate(queries(20)) for row in truth(table, query, 5)]
    # Also where the search depends on the row otherwise, and where a query has no vector.
    table.execute("INSERT INTO asked VALUES (99, NULL)")
    counts = table.execute("""
        SELECT number, count(near.id) FROM asked
        LEFT JOIN LATERAL (
            SELECT id FROM items WHERE id % 20 = number ORDER BY embedding <-> query LIMIT number
        ) near ON true GROUP BY number ORDER BY number
    """).fetchall()
    assert counts == [(number, number) for number in range(20)] + [(99, 0)]


def test_subqueries_unions_and_limits_of_other_kinds_search_by_the_index(table):
    nearest_to_it = "(SELECT i.id FROM items i ORDER BY i.embedding <-> o.embedding LIMIT 1)"
    sql = f"SELECT o.id, {nearest_to_it} FROM items o WHERE o.id < 50"
    assert "Order By: (embedding <-> o.embedding)" in explain(table, sql)
    assert all(own == nearest for own, nearest in table.execute(sql))
    query = vector_text(queries(1)[0])
    union = f"""
        (SELECT id FROM items WHERE id % 2 = 0 ORDER BY embedding <-> '{query}' LIMIT 5)
        UNION ALL (SELECT id FROM items WHERE id % 2 = 1 ORDER BY embedding <-> '{query}' LIMIT 5)
    """
    assert explain(table, union).count("Index Scan using items_ivf") == 2
    nearest = truth(table, queries(1)[0], 100)
    assert ids(table, union) == [i for i in nearest if i % 2 == 0][:5] + [i for i in nearest if i % 2 == 1][:5]
    ties = f"SELECT id FROM items ORDER BY embedding <-> '{query}' FETCH FIRST 5 ROWS WITH TIES"
    assert ids(table, ties) == nearest[:5]
    offset = f"SELECT id FROM items ORDER BY embedding <-> '{query}' LIMIT 5 OFFSET 20"
    assert ids(table, offset) == nearest[20:25]
    # PostgreSQL 15 takes no index for the first of two keys; a subquery does.
    inner = f"(SELECT id, embedding <-> '{query}' AS far FROM items ORDER BY 2 LIMIT 5)"
    second = f"SELECT id FROM {inner} near ORDER BY far, id DESC"
    assert "Index Scan using items_ivf" in explain(table, second)
    assert ids(table, second) == nearest[:5]


def test_rows_found_by_a_search_are_locked_updated_and_deleted(table):
    if items.server_loses_places(table):
        pytest.skip("this server cannot lock rows that an index scan has put in order again")
    query = queries(1)[0]
    nearest = truth(table, query, 20)
    text = vector_text(query)
    locked = f"SELECT id FROM items ORDER BY embedding <-> '{text}' LIMIT 5 FOR UPDATE"
    assert ids(table, locked) == nearest[:5]
    chosen = f"(SELECT id FROM items ORDER BY embedding <-> '{text}' LIMIT 5)"
    assert sorted(ids(table, f"DELETE FROM items WHERE id IN {chosen} RETURNING id")) == sorted(nearest[:5])
    assert ids(table, f"SELECT id FROM items ORDER BY embedding <-> '{text}' LIMIT 5") == nearest[5:10]
    # Moved far away, the rows are the last ones; the statement does not meet its own new versions.
    moved = f"UPDATE items SET embedding = embedding + array_fill(9, ARRAY[{DIMS}])::vector WHERE id IN {chosen}"
    assert table.execute(moved).rowcount == 5
    assert ids(table, f"SELECT id FROM items ORDER BY embedding <-> '{text}' LIMIT 5") == nearest[10:15]


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_snapshot_of_a_transaction_does_not_see_what_others_change(table, database, level):
    query = queries(1)[0]
    expected = truth(table, query, 20)
    search = f"SELECT id FROM items ORDER BY embedding <-> '{vector_text(query)}' LIMIT 20"
    with table.transaction():
        table.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
        assert ids(table, search) == expected
        with psycopg.connect(database, autocommit=True) as other:
            other.execute("DELETE FROM items WHERE id = %s", (expected[0],))
            other.execute("INSERT INTO items VALUES (777777, %s)", (vector_text(query),))
            other.execute("VACUUM items")
        assert ids(table, search) == expected
    assert ids(table, search) == [777_777, *expected[1:20]]


@pytest.mark.parametrize("name", ["vector", "halfvec", "sparsevec"])
def test_statistics_on_columns_of_these_types_are_gathered_and_do_not_break_plans(connection, name):
    connection.execute(f"CREATE TABLE things (id int, part int, e {name}(3))")
    # Few values, so that they are common ones, and each determines its part.
    connection.execute(
        f"INSERT INTO things SELECT i, i % 5, ('[' || i % 5 || ',1,' || (i % 5) * 2 || ']')::vector(3)::{name} "
        "FROM generate_series(1, 2000) i"
    )
    connection.execute("CREATE STATISTICS both_of_them (ndistinct, dependencies, mcv) ON part, e FROM things")
    connection.execute(
        "CREATE STATISTICS computed ON (l2_norm(e::halfvec)), (e + e) FROM things"
        if name == "halfvec"
        else "CREATE STATISTICS computed ON (e::text) FROM things"
    )
    connection.execute("ANALYZE things")
    gathered = connection.execute(
        "SELECT n_distinct::text, dependencies IS NOT NULL, cardinality(most_common_vals) FROM pg_stats_ext "
        "WHERE statistics_name = 'both_of_them'"
    ).fetchone()
    assert gathered == ('{"2, 3": 5}', True, 5 * 2)
    (column,) = connection.execute(
        "SELECT n_distinct FROM pg_stats WHERE tablename = 'things' AND attname = 'e'"
    ).fetchone()
    assert column == 5
    value = f"'[2,1,4]'::vector::{name}"
    for condition, rows in (
        (f"e = {value}", 400),
        (f"part = 2 AND e = {value}", 400),
        (f"part = 1 AND e = {value}", 0),
        (f"part IN (1, 2) AND e IN ({value}, '[1,1,2]'::vector::{name})", 800),
        (f"e < {value}", 800),
    ):
        assert connection.execute(f"SELECT count(*) FROM things WHERE {condition}").fetchone() == (rows,), condition
        (top, *_) = connection.execute(f"EXPLAIN SELECT * FROM things WHERE {condition}").fetchone()
        estimated = int(top.split("rows=")[1].split()[0])
        assert abs(estimated - rows) <= 20, top
    (top, *_) = connection.execute("EXPLAIN SELECT part, e FROM things GROUP BY part, e").fetchone()
    assert int(top.split("rows=")[1].split()[0]) == 5, top


def test_statistics_of_wide_vectors_do_not_break_analyze(connection):
    connection.execute("CREATE TABLE wide (part int, e vector(2000), h halfvec(4000))")
    connection.execute("""
        INSERT INTO wide SELECT i % 3, array_fill((i % 3)::real, ARRAY[2000])::vector,
            array_fill((i % 3)::real, ARRAY[4000])::halfvec FROM generate_series(1, 300) i
    """)
    connection.execute("CREATE STATISTICS wide_ones ON part, e, h FROM wide")
    connection.execute("ANALYZE wide")
    sql = "SELECT count(*) FROM wide WHERE part = 1 AND e = array_fill(1::real, ARRAY[2000])::vector"
    assert connection.execute(sql).fetchone() == (100,)
