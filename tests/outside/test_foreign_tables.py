"""postgres_fdw with extensions 'vectorgpu': the other server orders by distance, cuts at the limit, and uses its index.

The other server is the same one, over its own socket.
"""

from __future__ import annotations

import items
import psycopg
import pytest
from cluster import Cluster
from items import Scan
from vectors import vector_text

ROWS, DIMS, LISTS = 5_000, 16, 40


@pytest.fixture
def far(connection: psycopg.Connection, shared_cluster: Cluster) -> psycopg.Connection:
    """The connection, with the table `items` and the foreign tables `far` and `halves` over it and its halves."""
    available = "SELECT 1 FROM pg_available_extensions WHERE name = 'postgres_fdw'"
    if connection.execute(available).fetchone() is None:
        pytest.skip("NO TEST OF FOREIGN TABLES HAS RUN: postgres_fdw is not installed")
    items.create_items(connection, items.uniform(ROWS, DIMS))
    items.create_index(connection, LISTS)
    connection.execute(f"CREATE TABLE near_halves AS SELECT id, embedding::halfvec({DIMS}) AS embedding FROM items")
    connection.execute(
        f"CREATE INDEX halves_ivf ON near_halves USING ivf (embedding halfvec_cosine_ops) WITH (lists = {LISTS})"
    )
    connection.execute("ANALYZE near_halves")
    connection.execute("CREATE EXTENSION postgres_fdw")
    connection.execute(
        "CREATE SERVER other FOREIGN DATA WRAPPER postgres_fdw OPTIONS (extensions 'vectorgpu', "
        f"host '{shared_cluster.socket}', port '{shared_cluster.port}', dbname 'test', options '-c vectorgpu.probes=1')"
    )
    connection.execute("CREATE USER MAPPING FOR CURRENT_USER SERVER other OPTIONS (user 'postgres')")
    connection.execute(
        f"CREATE FOREIGN TABLE far (id int, embedding vector({DIMS})) SERVER other OPTIONS (table_name 'items')"
    )
    connection.execute(
        f"CREATE FOREIGN TABLE halves (id int, embedding halfvec({DIMS})) SERVER other "
        "OPTIONS (table_name 'near_halves')"
    )
    yield connection
    connection.execute("SELECT postgres_fdw_disconnect_all()")


def remote_sql(connection: psycopg.Connection, sql: str, *arguments: object) -> str:
    """The statement that a plan sends to the other server, which does all the work."""
    plan = [line for (line,) in connection.execute("EXPLAIN (VERBOSE, COSTS OFF) " + sql, arguments, prepare=False)]
    (sent,) = [line for line in plan if "Remote SQL:" in line]
    assert "Sort" not in "".join(plan) and "Limit" not in "".join(plan), "\n".join(plan)
    return sent


def answer_here(connection: psycopg.Connection, query: str, probes: int) -> list[items.Row]:
    """What the local table's index answers."""
    with connection.transaction():
        connection.execute(f"SET LOCAL vectorgpu.probes = {probes}")
        connection.execute("SET LOCAL enable_seqscan = off")
        sql = "SELECT id, embedding <-> %(q)s::vector FROM items ORDER BY embedding <-> %(q)s::vector LIMIT 10"
        return connection.execute(sql, {"q": query}, prepare=False).fetchall()


def test_order_and_limit_go_to_the_other_server_with_a_literal(far):
    query = vector_text(items.uniform(1, DIMS, seed=3)[0])
    sql = f"SELECT id, embedding FROM far ORDER BY embedding <-> '{query}' LIMIT 10"
    sent = remote_sql(far, sql)
    assert "ORDER BY (embedding OPERATOR(public.<->) '[" in sent and "LIMIT 10" in sent, sent
    assert [row[0] for row in far.execute(sql)] == [row[0] for row in answer_here(far, query, 1)]


def test_order_and_limit_go_to_the_other_server_with_parameters(far):
    far.execute("SET plan_cache_mode = force_generic_plan")
    far.execute("PREPARE nearest(vector) AS SELECT id FROM far ORDER BY embedding <-> $1 LIMIT 10")
    query = vector_text(items.uniform(1, DIMS, seed=3)[0])
    sent = remote_sql(far, f"EXECUTE nearest('{query}')")
    assert "ORDER BY (embedding OPERATOR(public.<->) $1::public.vector)" in sent and "LIMIT 10" in sent, sent
    # A limit that a generic plan does not know is applied here: the other server is asked for the order.
    far.execute("PREPARE nearest_few(vector, int) AS SELECT id FROM far ORDER BY embedding <-> $1 LIMIT $2")
    for query in items.uniform(5, DIMS, seed=4):
        text = vector_text(query)
        truth = [row[:1] for row in answer_here(far, text, 1)]
        assert far.execute(f"EXECUTE nearest('{text}')").fetchall() == truth
        assert far.execute(f"EXECUTE nearest_few('{text}', 7)").fetchall() == truth[:7]
    # What a driver sends: a statement that the server prepares, with a parameter of its own.
    for query in items.uniform(5, DIMS, seed=5):
        text = vector_text(query)
        sql = "SELECT id FROM far ORDER BY embedding <-> %s::vector LIMIT 10"
        assert far.execute(sql, (text,), prepare=True).fetchall() == [row[:1] for row in answer_here(far, text, 1)]


def test_probes_of_the_other_server_are_what_its_options_say(far):
    queries = [vector_text(query) for query in items.uniform(10, DIMS, seed=3)]
    sql = "SELECT id FROM far ORDER BY embedding <-> %s::vector LIMIT 10"

    def recall() -> float:
        """The share of the true nearest rows that the foreign table gives."""
        found = wanted = 0
        for query in queries:
            truth = {row[0] for row in answer_here(far, query, LISTS)}
            found += len(truth & {row[0] for row in far.execute(sql, (query,), prepare=False)})
            wanted += len(truth)
        return found / wanted

    assert recall() < 0.9, "one probe of forty lists finds not nearly all"
    far.execute(f"ALTER SERVER other OPTIONS (SET options '-c vectorgpu.probes={LISTS}')")
    assert recall() == 1


def test_other_types_filters_and_aggregates_are_computed_there(far):
    query = vector_text(items.uniform(1, DIMS, seed=3)[0])
    sent = remote_sql(far, f"SELECT id FROM halves ORDER BY embedding <=> '{query}'::halfvec LIMIT 3")
    assert "ORDER BY (embedding OPERATOR(public.<=>) '[" in sent and "LIMIT 3" in sent, sent
    sql = f"SELECT id FROM far WHERE embedding <-> '{query}' < 0.8 ORDER BY id"
    assert "WHERE (((embedding OPERATOR(public.<->) '[" in remote_sql(far, sql)
    assert far.execute(sql).fetchall() == far.execute(sql.replace("far", "items")).fetchall() != []
    sql = "SELECT avg(embedding), count(*) FROM far"
    assert "public.avg(embedding)" in remote_sql(far, sql)
    assert far.execute(sql).fetchall() == far.execute(sql.replace("far", "items")).fetchall()


def test_without_the_extensions_option_the_rows_are_ordered_here(far):
    query = vector_text(items.uniform(1, DIMS, seed=3)[0])
    sql = f"SELECT id FROM far ORDER BY embedding <-> '{query}' LIMIT 10"
    far.execute("ALTER SERVER other OPTIONS (DROP extensions)")
    plan = "\n".join(line for (line,) in far.execute("EXPLAIN (VERBOSE) " + sql))
    assert "Sort" in plan and "ORDER BY" not in plan, plan
    exact = items.exact(far, items.uniform(1, DIMS, seed=3)[0], Scan())
    assert far.execute(sql).fetchall() == [row[:1] for row in exact]


def test_rows_are_written_through_a_foreign_table(far):
    far.execute("INSERT INTO far SELECT id + 100000, embedding FROM items WHERE id < 10")
    far.execute("UPDATE far SET embedding = embedding * embedding WHERE id >= 100005")
    far.execute("DELETE FROM far WHERE id = 100000")
    assert far.execute("SELECT count(*) FROM items WHERE id >= 100000").fetchone() == (9,)
    ids = "SELECT array_agg(id ORDER BY id) FROM items"
    assert far.execute(ids).fetchone()[0] == items.indexed_ids(far, LISTS)


def test_partitions_on_other_servers_merge_in_the_global_order(far):
    far.execute(f"ALTER SERVER other OPTIONS (SET options '-c vectorgpu.probes={LISTS}')")
    far.execute(f"CREATE TABLE all_items (id int, embedding vector({DIMS})) PARTITION BY RANGE (id)")
    for part in range(2):
        far.execute(f"CREATE TABLE near_{part} AS SELECT * FROM items WHERE id / 2500 = {part}")
        far.execute(f"CREATE INDEX ON near_{part} USING ivf (embedding vector_l2_ops) WITH (lists = {LISTS})")
        far.execute(
            f"CREATE FOREIGN TABLE far_{part} PARTITION OF all_items "
            f"FOR VALUES FROM ({2500 * part}) TO ({2500 * part + 2500}) "
            f"SERVER other OPTIONS (table_name 'near_{part}')"
        )
    query = items.uniform(1, DIMS, seed=3)[0]
    sql = f"SELECT id, embedding <-> '{vector_text(query)}' FROM all_items ORDER BY 2 LIMIT 10"
    far.execute("SET enable_sort = off")
    plan = "\n".join(line for (line,) in far.execute("EXPLAIN (VERBOSE) " + sql))
    assert "Merge Append" in plan and plan.count("ORDER BY (embedding OPERATOR(public.<->)") == 2, plan
    items.assert_same_answer(far.execute(sql).fetchall(), items.exact(far, query, Scan()))
