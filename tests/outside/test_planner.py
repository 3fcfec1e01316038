"""When the planner takes the index: for the nearest few rows of a large enough table, and not otherwise."""

from __future__ import annotations

import items
import psycopg
import pytest
from vectors import copy_vectors, vector_text

QUERY = vector_text(items.uniform(1, 384)[0])


def plan(connection: psycopg.Connection, sql: str) -> str:
    """The plan of a query; `{q}` stands for a query vector of 384 dimensions."""
    rows = connection.execute("EXPLAIN (COSTS off) " + sql.replace("{q}", f"'{QUERY}'"))
    return "\n".join(line for (line,) in rows)


@pytest.fixture
def table(connection: psycopg.Connection) -> psycopg.Connection:
    """2,000 rows of 384 dimensions with an index."""
    items.create_items(connection, items.uniform(2_000, 384))
    items.create_index(connection, 44)
    return connection


def test_limit_takes_the_index(table):
    assert "items_ivf" in plan(table, "SELECT id FROM items ORDER BY embedding <-> {q} LIMIT 10")


def test_parameter_of_a_prepared_statement_takes_the_index(table):
    table.execute("PREPARE nearest(vector) AS SELECT id FROM items ORDER BY embedding <-> $1 LIMIT 10")
    table.execute("SET plan_cache_mode = force_generic_plan")
    assert "items_ivf" in plan(table, "EXECUTE nearest({q})")


def test_parameter_as_the_limit_takes_the_index(table):
    table.execute("PREPARE nearest(vector, int) AS SELECT id FROM items ORDER BY embedding <-> $1 LIMIT $2")
    for mode in ("force_custom_plan", "force_generic_plan"):
        table.execute(f"SET plan_cache_mode = {mode}")
        assert "items_ivf" in plan(table, "EXECUTE nearest({q}, 10)")


@pytest.mark.parametrize("storage", items.STORAGES)
@pytest.mark.parametrize(("rows", "dims"), [(2_000, 384), (2_000, 1536), (10_000, 100), (20_000, 384)])
def test_limit_takes_the_index_whatever_the_storage(connection, rows, dims, storage):
    items.create_items(connection, items.uniform(rows, dims))
    items.create_index(connection, round(rows**0.5), storage=storage)
    query = vector_text(items.uniform(1, dims)[0])
    nearest = f"SELECT id FROM items ORDER BY embedding <-> '{query}' LIMIT"
    assert "items_ivf" in plan(connection, f"{nearest} 10")
    for limit in (rows - 10, rows, 10 * rows, "ALL"):
        assert "Seq Scan" in plan(connection, f"{nearest} {limit}")
    # Reading all lists is still faster than reading the table. All rows it cannot give: some might have no vector.
    connection.execute(f"SET vectorgpu.probes = {rows}")
    assert "items_ivf" in plan(connection, f"{nearest} 10")
    for limit in (rows, "ALL"):
        assert "Seq Scan" in plan(connection, f"{nearest} {limit}")


@pytest.fixture
def filtered(connection: psycopg.Connection) -> psycopg.Connection:
    """10,000 rows of 384 dimensions with a number from 0 to 999 that a btree index finds."""
    items.create_items(connection, items.uniform(10_000, 384))
    connection.execute("ALTER TABLE items ADD number int; UPDATE items SET number = id * 7919 % 1000")
    connection.execute("CREATE INDEX items_btree ON items (number)")
    connection.execute("VACUUM FULL ANALYZE items")
    return connection


@pytest.mark.parametrize("storage", items.STORAGES)
def test_filter_takes_the_index_that_fits_it(filtered, storage):
    items.create_index(filtered, 100, storage=storage)
    nearest = "SELECT id FROM items WHERE number < {} ORDER BY embedding <-> {{q}} LIMIT 10"
    assert "items_ivf" in plan(filtered, nearest.format(500))
    assert "items_btree" in plan(filtered, nearest.format(1))
    filtered.execute("DROP INDEX items_btree")
    assert "items_ivf" in plan(filtered, nearest.format(500))
    assert "Seq Scan" in plan(filtered, nearest.format(1))


def test_rows_of_further_lists_count_only_in_relaxed_order(table):
    # The table's pages, read at random, are charged by the server; here, as they cost in memory.
    table.execute("SET random_page_cost = 1")
    nearest = "SELECT id FROM items ORDER BY embedding <-> {q} LIMIT"
    for iterate, taken in (("strict_order", False), ("off", False), ("relaxed_order", True)):
        table.execute(f"SET vectorgpu.iterative_scan = {iterate}")
        assert "items_ivf" in plan(table, f"{nearest} 100")
        assert ("items_ivf" in plan(table, f"{nearest} 500")) == taken
    table.execute("SET vectorgpu.max_probes = 6")
    assert "items_ivf" not in plan(table, f"{nearest} 500")


def test_subquery_for_each_row_takes_the_index(table):
    sql = (
        "SELECT near.id FROM items a, LATERAL "
        "(SELECT id FROM items b ORDER BY b.embedding <-> a.embedding LIMIT 5) near WHERE a.id < 3"
    )
    assert "items_ivf" in plan(table, sql)


@pytest.mark.parametrize("analyzed", [False, True])
@pytest.mark.parametrize("rows", [0, 1, 3_000])
def test_missing_statistics_leave_costs_finite(connection, rows, analyzed):
    connection.execute("CREATE TABLE items (id int PRIMARY KEY, embedding vector(384)) WITH (autovacuum_enabled = off)")
    items.create_index(connection, 10)
    if rows:
        copy_vectors(connection, "items", items.uniform(rows, 384))
    if analyzed:
        connection.execute("ANALYZE items")
    connection.execute("SET enable_seqscan = off; SET enable_sort = off")
    for limit in ("1", "10", "ALL"):
        sql = f"EXPLAIN (FORMAT JSON) SELECT id FROM items ORDER BY embedding <-> '{QUERY}' LIMIT {limit}"
        root = connection.execute(sql).fetchone()[0][0]["Plan"]
        assert "items_ivf" in str(root)
        assert 0 <= root["Startup Cost"] <= root["Total Cost"] < 1e9


@pytest.mark.parametrize("setting", ["seq_page_cost", "random_page_cost", "cpu_tuple_cost", "cpu_operator_cost"])
def test_costs_follow_the_settings(table, setting):
    def cost() -> float:
        sql = f"EXPLAIN (FORMAT JSON) SELECT id FROM items ORDER BY embedding <-> '{QUERY}' LIMIT 10"
        return table.execute(sql).fetchone()[0][0]["Plan"]["Total Cost"]

    table.execute("SET enable_seqscan = off")
    usual = cost()
    table.execute(f"SET {setting} = 100")
    assert cost() > usual


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM items",
        "SELECT id FROM items LIMIT 10",
        "SELECT id FROM items WHERE embedding <-> {q} < 1",
        "SELECT id FROM items ORDER BY embedding <-> {q}",
        "SELECT id FROM items ORDER BY embedding <-> {q} DESC LIMIT 10",
        "SELECT id FROM items ORDER BY embedding <=> {q} LIMIT 10",
        "SELECT id FROM items WHERE id = 7 ORDER BY embedding <-> {q} LIMIT 10",
    ],
    ids=["count", "no_order", "range", "no_limit", "descending", "other_operator", "primary_key"],
)
def test_other_queries_do_not_take_the_index(table, sql):
    assert "items_ivf" not in plan(table, sql)


def test_unordered_query_avoids_the_index_even_without_seqscan(table):
    table.execute("SET enable_seqscan = off")
    assert "items_ivf" not in plan(table, "SELECT embedding FROM items")
    assert table.execute("SELECT count(embedding) FROM items").fetchone() == (2_000,)


@pytest.mark.parametrize("storage", items.STORAGES)
@pytest.mark.parametrize("dims", [384, 784])
def test_tiny_table_is_scanned(connection, dims, storage):
    items.create_items(connection, items.uniform(50, dims))
    items.create_index(connection, 7, storage=storage)
    query = vector_text(items.uniform(1, dims)[0])
    for limit in (1, 10):
        assert "Seq Scan" in plan(connection, f"SELECT id FROM items ORDER BY embedding <-> '{query}' LIMIT {limit}")


def test_partitions_merge_into_one_global_order(connection):
    rows = items.uniform(6_000, 384)
    connection.execute("CREATE TABLE items (id int, embedding vector(384)) PARTITION BY RANGE (id)")
    for part in range(3):
        bounds = f"FROM ({part * 2_000}) TO ({(part + 1) * 2_000})"
        connection.execute(f"CREATE TABLE items_{part} PARTITION OF items FOR VALUES {bounds}")
    items.copy_vectors(connection, "items", rows)
    connection.execute("CREATE INDEX ON items USING ivf (embedding vector_l2_ops) WITH (lists = 44, probes = 44)")
    connection.execute("ANALYZE items")
    connection.execute("SET enable_seqscan = off")
    nearest = "SELECT id, embedding <-> {q} FROM items ORDER BY embedding <-> {q} LIMIT 10"
    text = plan(connection, nearest)
    assert "Merge Append" in text and text.count("Index Scan") == 3
    answer = connection.execute(nearest.replace("{q}", f"'{QUERY}'")).fetchall()
    connection.execute("SET enable_indexscan = off")
    items.assert_same_answer(answer, connection.execute(nearest.replace("{q}", f"'{QUERY}'")).fetchall())


def test_scans_are_counted(table):
    counter = "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'items_ivf'"
    items.through_index(table, items.uniform(1, 384)[0], items.Scan())
    table.execute("SELECT pg_stat_force_next_flush()")
    table.execute("SELECT 1")
    assert table.execute(counter).fetchone()[0] >= 1


def test_index_option_sets_the_probes_and_the_setting_overrides_it(connection):
    rows = items.uniform(5_000, 8)
    items.create_items(connection, rows)
    connection.execute(
        "CREATE INDEX items_ivf ON items USING ivf (embedding vector_l2_ops) WITH (lists = 50, probes = 7)"
    )
    connection.execute("SET enable_seqscan = off")
    nearest = f"SELECT id FROM items ORDER BY embedding <-> '{vector_text(rows[0])}' LIMIT 1"
    probed = "SELECT lists_probed FROM vectorgpu.last_scan()"
    connection.execute(nearest).fetchall()
    assert connection.execute(probed).fetchone() == (7,)
    connection.execute("SET vectorgpu.probes = 3")
    connection.execute(nearest).fetchall()
    assert connection.execute(probed).fetchone() == (3,)


def outputs(connection: psycopg.Connection, sql: str) -> str:
    """What the nodes of a plan put out."""
    connection.execute("LOAD 'vectorgpu'")
    connection.execute("SET enable_seqscan = off")
    rows = connection.execute("EXPLAIN (COSTS off, VERBOSE) " + sql.replace("{q}", f"'{QUERY}'"))
    lines = [line for (line,) in rows]
    assert any("Index Scan using items_ivf" in line for line in lines), lines
    return "\n".join(line for line in lines if "Output:" in line)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id FROM items ORDER BY embedding <-> {q} LIMIT 10",
        "SELECT id FROM items ORDER BY embedding <-> {q} LIMIT 10 OFFSET 5",
        "SELECT id FROM items WHERE id % 2 = 0 ORDER BY embedding <-> {q} LIMIT 10",
        "SELECT sum(id) FROM (SELECT id FROM items ORDER BY embedding <-> {q} LIMIT 10) s",
        "WITH s AS MATERIALIZED (SELECT id FROM items ORDER BY embedding <-> {q} LIMIT 10) SELECT * FROM s",
        "SELECT (SELECT id FROM items ORDER BY embedding <-> {q} LIMIT 1)",
    ],
    ids=["limit", "offset", "filter", "subquery", "cte", "scalar"],
)
def test_a_distance_that_is_not_returned_is_not_computed(table, sql):
    found = outputs(table, sql)
    assert "<->" not in found
    assert "NULL::double precision" in found


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id, embedding <-> {q} FROM items ORDER BY embedding <-> {q} LIMIT 10",
        "SELECT id, embedding <-> {q} AS d FROM items ORDER BY d LIMIT 10",
        "SELECT id, 1 - (embedding <-> {q}) FROM items ORDER BY embedding <-> {q} LIMIT 10",
        "SELECT sum(d) FROM (SELECT embedding <-> {q} AS d FROM items ORDER BY d LIMIT 10) s",
        "SELECT id FROM items ORDER BY embedding <-> {q} FETCH FIRST 10 ROWS WITH TIES",
    ],
    ids=["returned", "by_name", "expression", "subquery", "with_ties"],
)
def test_a_distance_that_is_needed_is_computed(table, sql):
    assert "<->" in outputs(table, sql)


def test_answers_are_the_same_with_and_without_the_distance(table):
    table.execute("SET enable_seqscan = off")
    limits = ["LIMIT 20", "LIMIT 20 FOR UPDATE", "FETCH FIRST 20 ROWS WITH TIES", "LIMIT ALL"]
    if items.server_loses_places(table):
        limits.remove("LIMIT 20 FOR UPDATE")
    for limit in limits:
        ordered = f"FROM items ORDER BY embedding <-> '{QUERY}' {limit}"
        ids = table.execute(f"SELECT id {ordered}").fetchall()
        with_distance = table.execute(f"SELECT id, embedding <-> '{QUERY}' {ordered}").fetchall()
        assert ids == [(identifier,) for identifier, _ in with_distance]
        assert len(ids) >= 20
    cursor = f"DECLARE near SCROLL CURSOR WITH HOLD FOR SELECT id FROM items ORDER BY embedding <-> '{QUERY}' LIMIT 20"
    table.execute(cursor)
    assert table.execute("FETCH ALL FROM near").fetchall() == ids[:20]
    table.execute("CREATE TABLE nearest AS " + cursor.partition(" FOR ")[2])
    assert table.execute("SELECT id FROM nearest").fetchall() == ids[:20]
