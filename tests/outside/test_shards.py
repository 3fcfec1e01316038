"""vectorgpu.search_shards: a table whose partitions lie on several servers answers as one table with all of its rows.

Three servers hold a part each, reached through their Unix sockets; the fourth part is a partition here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import items
import numpy as np
import psycopg
import pytest
from cluster import Cluster
from conftest import new_cluster, put_away
from vectors import copy_vectors, vector_text

ROWS, DIMS, LISTS = 4_000, 12, 8
# What the parts of the other servers are called there: table, key and column.
THERE = [
    ("public.part_0", "id", "embedding"),
    ('"it\'s odd"."Parts of"', '"the ""id"""', '"e\'s"'),
    ('"it\'s odd"."Parts of"', '"the ""id"""', '"e\'s"'),
]
PARTS = len(THERE) + 1
# Operator, and the part of the operator class's name.
METRICS = {"l2": ("<->", "l2"), "inner_product": ("<#>", "ip"), "cosine": ("<=>", "cosine"), "l1": ("<+>", "l1")}
SLEEP_S = 1.0


@pytest.fixture(scope="module")
def servers(bindir: Path) -> Iterator[list[Cluster]]:
    """The servers of the shards, each with a role for the sessions of others."""
    made = [new_cluster(bindir, f"shard-{number}", {}, {}) for number in range(len(THERE))]
    for cluster in made:
        with psycopg.connect(cluster.dsn(), autocommit=True) as server:
            server.execute("CREATE ROLE reader LOGIN")
    yield made
    died = [line for cluster in made for line in cluster.died_backends()]
    for number, cluster in enumerate(made):
        put_away(cluster, f"shard-{number}")
    assert not died, f"backends died: {died}"


@dataclass(frozen=True)
class Shards:
    """A connection to the server that knows the shards, and the servers of those that lie elsewhere."""

    connection: psycopg.Connection
    servers: list[Cluster]

    def search(self, queries: np.ndarray, k: int, options: str = "") -> list[tuple[int, int, int, float]]:
        """(query, rank, id, distance) of what all shards together find, in the order of the answer."""
        options = options or f"probes => {LISTS}"
        sql = (
            "SELECT query, rank, (data->>'id')::int, distance "
            f"FROM vectorgpu.search_shards('everything', 'embedding', %s::vector[], %s, {options})"
        )
        return self.connection.execute(sql, ([vector_text(query) for query in queries], k)).fetchall()

    def error_of(self, options: str, query: str = "[" + ",".join(["0"] * DIMS) + "]") -> psycopg.errors.Diagnostic:
        """What a search that fails says."""
        with pytest.raises(psycopg.Error) as caught:
            arguments = f"'everything', 'embedding', ARRAY['{query}'::vector], 3, {options}"
            self.connection.execute(f"SELECT * FROM vectorgpu.search_shards({arguments})")
        return caught.value.diag

    def on(self, shard: int, sql: str) -> list[tuple]:
        """Runs a statement on a shard's server, as superuser."""
        with psycopg.connect(self.servers[shard].dsn(), autocommit=True) as server:
            cursor = server.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def delay(self, shard: int, seconds: float) -> None:
        """Makes every search of a shard take so much longer, until it is filled anew."""
        self.on(shard, "ALTER FUNCTION vectorgpu.search_rows RENAME TO search_rows_at_once")
        self.on(
            shard,
            "CREATE FUNCTION vectorgpu.search_rows(relation text, column_name text, queries vector[], k int, "
            "metric text, probes int, columns text[], index_name text, labels text[], OUT query int, OUT rank int, "
            f"OUT data jsonb, OUT distance float8) RETURNS SETOF record LANGUAGE sql AS $$ SELECT pg_sleep({seconds}); "
            "SELECT * FROM vectorgpu.search_rows_at_once($1::regclass, $2, $3, $4, $5, $6, $7, $8, $9) $$",
        )

    def wait_for_no_sessions(self) -> None:
        """Waits until no server of a shard has a session of another server."""
        sql = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'reader'"
        end = time.monotonic() + 10
        while any(self.on(shard, sql) != [(0,)] for shard in range(len(self.servers))):
            assert time.monotonic() < end, "sessions are left on the shards"
            time.sleep(0.05)


def fill(server: psycopg.Connection, place: tuple[str, str, str], rows: np.ndarray, first_id: int) -> None:
    """Makes a shard's table with an index for each metric."""
    table, key, column = place
    server.execute("SET client_min_messages = warning")
    server.execute(
        """DROP SCHEMA IF EXISTS "it's odd" CASCADE; DROP TABLE IF EXISTS part_0; CREATE SCHEMA "it's odd" """
    )
    server.execute("DROP EXTENSION IF EXISTS vectorgpu CASCADE; CREATE EXTENSION vectorgpu")
    server.execute(f"CREATE TABLE {table} ({key} int, filler text DEFAULT 'x', {column} vector({DIMS}))")
    server.execute(f"CREATE TEMP TABLE loaded (id int, embedding vector({DIMS}))")
    copy_vectors(server, "loaded", rows, first_id)
    server.execute(f"INSERT INTO {table} ({key}, {column}) SELECT id, embedding FROM loaded")
    index(server, table, column)
    server.execute(f"""GRANT USAGE ON SCHEMA "it's odd" TO reader; GRANT SELECT ON {table} TO reader""")


def index(server: psycopg.Connection, table: str, column: str) -> None:
    """Makes an index for each metric."""
    for name, (_, part) in METRICS.items():
        server.execute(
            f"CREATE INDEX by_{name} ON {table} USING ivf ({column} vector_{part}_ops) WITH (lists = {LISTS})"
        )
    server.execute(f"ANALYZE {table}")


@pytest.fixture
def shards(connection: psycopg.Connection, servers: list[Cluster]) -> Shards:
    """The tables `items`, with all rows, and `everything`, which has them in parts."""
    for extension in ("dblink", "postgres_fdw"):
        if not connection.execute("SELECT FROM pg_available_extensions WHERE name = %s", (extension,)).fetchall():
            pytest.skip(f"NO TEST OF SHARDS HAS RUN: {extension} is not installed")
        connection.execute(f"CREATE EXTENSION {extension}")
    rows = items.uniform(ROWS, DIMS)
    items.create_items(connection, rows)
    connection.execute(f"CREATE TABLE everything (id int, embedding vector({DIMS})) PARTITION BY RANGE (id)")
    edges = [number * ROWS // PARTS for number in range(PARTS + 1)]
    parts = [f"PARTITION OF everything FOR VALUES FROM ({a}) TO ({b})" for a, b in pairwise(edges)]
    for number, (cluster, place) in enumerate(zip(servers, THERE, strict=True)):
        with psycopg.connect(cluster.dsn(), autocommit=True) as server:
            fill(server, place, rows[edges[number] : edges[number + 1]], edges[number])
        connection.execute(
            f"CREATE SERVER server_{number} FOREIGN DATA WRAPPER postgres_fdw "
            f"OPTIONS (host '{cluster.socket}', port '{cluster.port}', dbname 'postgres', fetch_size '50')"
        )
        connection.execute(f"CREATE USER MAPPING FOR CURRENT_USER SERVER server_{number} OPTIONS (user 'reader')")
        connection.execute(f"CREATE FOREIGN TABLE part_{number} {parts[number]} SERVER server_{number}")
        if place[1] != "id":
            connection.execute(
                f"""ALTER FOREIGN TABLE part_{number} OPTIONS (schema_name 'it''s odd', table_name 'Parts of'),
                    ALTER id OPTIONS (column_name 'the "id"'), ALTER embedding OPTIONS (column_name 'e''s')"""
            )
    connection.execute(f"CREATE TABLE part_3 {parts[3]}")
    connection.execute("INSERT INTO part_3 SELECT * FROM items WHERE id >= %s", (edges[3],))
    index(connection, "part_3", "embedding")
    return Shards(connection, servers)


def truth(connection: psycopg.Connection, query: np.ndarray, operator: str, k: int) -> list[items.Row]:
    """What the one table with all rows answers, in a sort of them."""
    sql = f"SELECT id, embedding {operator} %(q)s::vector FROM items ORDER BY 2 LIMIT {k}"
    return connection.execute(sql, {"q": vector_text(query)}).fetchall()


@pytest.mark.parametrize("metric", METRICS)
def test_shards_answer_as_one_table_with_all_of_their_rows(shards, metric):
    queries = items.uniform(20, DIMS, seed=3)
    found = shards.search(queries, 15, f"metric => '{metric}', probes => {LISTS}")
    assert [(query, rank) for query, rank, _, _ in found] == [(q, r) for q in range(1, 21) for r in range(1, 16)]
    parts = set()
    for number, query in enumerate(queries, 1):
        rows = [(identifier, distance) for of, _, identifier, distance in found if of == number]
        items.assert_same_answer(rows, truth(shards.connection, query, METRICS[metric][0], 15))
        parts |= {identifier * PARTS // ROWS for identifier, _ in rows}
    assert parts == set(range(PARTS)), "rows of every shard are among those found"
    shards.wait_for_no_sessions()


def test_shards_are_listed_and_rows_say_theirs(shards):
    listed = shards.connection.execute("SELECT shard::text, server FROM vectorgpu.shards('everything')").fetchall()
    assert listed == [("part_3", None), ("part_0", "server_0"), ("part_1", "server_1"), ("part_2", "server_2")]
    sql = (
        "SELECT shard::text, data, (SELECT tableoid::regclass::text FROM everything WHERE id = (data->>'id')::int) "
        "FROM vectorgpu.search_shards('everything', 'embedding', ARRAY[%s::vector], 40, columns => %s)"
    )
    query = vector_text(items.uniform(1, DIMS, seed=3)[0])
    for shard, data, holder in shards.connection.execute(sql, (query, ["embedding", "id"])):
        assert shard == holder
        stored = shards.connection.execute("SELECT embedding::text FROM items WHERE id = %s", (data["id"],)).fetchone()
        assert data == {"id": data["id"], "embedding": stored[0]}


def test_a_parent_and_its_children_are_the_shards_of_a_table_that_is_inherited_from(connection):
    connection.execute("CREATE TABLE parent (id int, e vector(2)); CREATE TABLE child (note text) INHERITS (parent)")
    connection.execute("CREATE TABLE empty_child () INHERITS (parent)")
    for table, first in (("parent", 0), ("child", 10)):
        connection.execute(
            f"INSERT INTO {table} SELECT i, ARRAY[i, 0]::vector FROM generate_series({first}, {first + 9}) i"
        )
        connection.execute(f"CREATE INDEX ON {table} USING ivf (e) WITH (lists = 1)")
    assert connection.execute("SELECT shard::text, server FROM vectorgpu.shards('parent')").fetchall() == [
        ("parent", None),
        ("child", None),
    ]
    sql = "SELECT shard::text, data FROM vectorgpu.search_shards('parent', 'e', '{\"[9.6,0]\",\"[-1,0]\"}', 2)"
    rows = [("child", {"id": 10}), ("parent", {"id": 9}), ("parent", {"id": 0}), ("parent", {"id": 1})]
    assert connection.execute(sql).fetchall() == rows
    # A row of the parent, though a child has one at the same place.
    sql = "SELECT data FROM vectorgpu.search_rows('parent', 'e', '{\"[-1,0]\"}', 20, columns => %s, labels => %s)"
    assert [data for (data,) in connection.execute(sql, (["e", "id"], ["a", "b"]))] == [
        {"a": f"[{i},0]", "b": i} for i in range(10)
    ]
    sql = "SELECT data FROM vectorgpu.search_rows('child', 'e', '{\"[-1,0]\"}', 1, columns => '{}')"
    assert connection.execute(sql).fetchall() == [({},)]


def test_shards_search_at_the_same_time(shards):
    for shard in range(len(THERE)):
        shards.delay(shard, SLEEP_S)
    started = time.monotonic()
    found = shards.search(items.uniform(2, DIMS, seed=3), 5)
    took = time.monotonic() - started
    assert len(found) == 10
    # One after the other they would take three seconds.
    assert SLEEP_S <= took < 1.8 * SLEEP_S, f"took {took:.2f} s"


def test_sessions_on_shards_are_kept_open_where_that_is_asked_for(shards):
    queries = items.uniform(3, DIMS, seed=3)
    pids = "SELECT pid FROM pg_stat_activity WHERE usename = 'reader'"
    kept = f"probes => {LISTS}, keep_open => true"
    first = shards.search(queries, 10, kept)
    sessions = [shards.on(shard, pids) for shard in range(len(THERE))]
    assert [len(of_one) for of_one in sessions] == [1, 1, 1]
    assert shards.search(queries, 10, kept) == first
    assert [shards.on(shard, pids) for shard in range(len(THERE))] == sessions
    # One that has ended meanwhile is replaced, and so is one with other options.
    shards.on(0, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'reader'")
    shards.connection.execute("ALTER SERVER server_1 OPTIONS (ADD application_name 'search')")
    assert shards.search(queries, 10, kept) == first
    assert shards.on(0, pids) != sessions[0] and shards.on(2, pids) == sessions[2]
    assert ("search",) in shards.on(1, pids.replace("pid", "application_name", 1))
    shards.connection.execute("SELECT vectorgpu.close_shards()")
    shards.wait_for_no_sessions()
    shards.search(queries, 10, kept)
    assert shards.search(queries, 10) == first
    shards.wait_for_no_sessions()


@pytest.mark.parametrize("stop", ["statement_timeout", "pg_cancel_backend"])
def test_a_search_that_is_stopped_leaves_no_session_on_a_shard(shards, database, stop):
    for shard in range(len(THERE)):
        shards.delay(shard, 60)
    connection = shards.connection
    if stop == "statement_timeout":
        connection.execute("SET statement_timeout = '300ms'")
    else:
        connection.execute(
            "SELECT dblink_connect('other', %s), dblink_send_query('other', %s)",
            (database, f"SELECT pg_sleep(0.3), pg_cancel_backend({connection.info.backend_pid})"),
        )
    started = time.monotonic()
    with pytest.raises(psycopg.errors.QueryCanceled):
        shards.search(items.uniform(2, DIMS, seed=3), 5)
    assert time.monotonic() - started < 5
    connection.execute("RESET statement_timeout")
    shards.wait_for_no_sessions()
    # What is not of a search is left alone.
    open_ones = connection.execute("SELECT coalesce(dblink_get_connections(), '{}')").fetchone()[0]
    assert open_ones == ([] if stop == "statement_timeout" else ["other"])


def test_a_shard_that_is_down_is_an_error_that_names_it_or_is_left_out(shards):
    queries = items.uniform(3, DIMS, seed=3)
    shards.connection.execute("ALTER SERVER server_1 OPTIONS (SET port '1')")
    said = shards.error_of("probes => 1")
    assert said.sqlstate == "08001"
    assert said.message_primary.startswith("shard public.part_1: ")
    assert said.message_detail.startswith('Server "server_1".')
    assert said.message_hint == "With leave_out the other shards answer."
    shards.wait_for_no_sessions()
    warnings = []
    shards.connection.add_notice_handler(lambda diagnostic: warnings.append(diagnostic.message_primary))
    found = shards.search(queries, 10, f"probes => {LISTS}, leave_out => true")
    assert len(warnings) == 1 and warnings[0].startswith("shard public.part_1 is left out: "), warnings
    others = f"(id < {ROWS // PARTS} OR id >= {2 * ROWS // PARTS})"
    for number, query in enumerate(queries, 1):
        rows = [(identifier, distance) for of, _, identifier, distance in found if of == number]
        items.assert_same_answer(rows, items.exact(shards.connection, query, items.Scan(where=others)))


def test_a_server_that_goes_down_in_mid_search_is_an_error_that_names_its_shard(shards):
    shards.delay(0, 60)
    shards.connection.execute(
        "SELECT dblink_connect('other', %s), dblink_send_query('other', %s)",
        (
            shards.servers[0].dsn(),
            "SELECT pg_sleep(0.5); SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'reader'",
        ),
    )
    said = shards.error_of("probes => 1")
    assert said.sqlstate in {"57P01", "08006"} and said.message_primary.startswith("shard public.part_0: "), said
    shards.wait_for_no_sessions()


def test_errors_of_a_shard_name_it_and_are_not_left_out(shards):
    said = shards.error_of("leave_out => true", query="[1,2]")
    assert (said.sqlstate, said.message_primary.split(": ")[-1]) == (
        "22000",
        f"different vector dimensions {DIMS} and 2",
    )
    shards.on(2, 'DROP INDEX "it\'s odd".by_cosine')
    said = shards.error_of("metric => 'cosine', leave_out => true")
    assert said.sqlstate == "42704"
    missing = 'shard public.part_2: relation "it\'s odd"."Parts of" has no ivf index on column "e\'s" for metric cosine'
    assert said.message_primary == missing
    said = shards.error_of("index_name => 'none', leave_out => true")
    assert said.message_primary.endswith('for metric l2 of the name "none"')
    shards.on(2, 'CREATE INDEX again ON "it\'s odd"."Parts of" USING ivf ("e\'s" vector_l2_ops) WITH (lists = 8)')
    said = shards.error_of("metric => 'l2'")
    assert said.sqlstate == "22023" and "has several ivf indexes" in said.message_primary
    assert said.message_detail.endswith('They are "it\'s odd".by_l2, "it\'s odd".again.'), said.message_detail
    assert len(shards.search(items.uniform(1, DIMS, seed=3), 5, "index_name => 'by_l2'")) == 5
    shards.wait_for_no_sessions()


def test_misuse_is_refused_here(shards):
    assert shards.error_of("metric => 'l3'").message_primary.endswith('unknown metric "l3"')
    said = shards.error_of("columns => '{id,nothing}'")
    assert (said.sqlstate, said.message_primary) == (
        "42703",
        'column "nothing" of relation "part_3" does not exist',
    )
    connection = shards.connection
    for argument in ("'everything', NULL, '{}', 3", "'everything', 'embedding', '{}', 3"):
        assert connection.execute(f"SELECT * FROM vectorgpu.search_shards({argument})").fetchall() == []


def test_rights_are_those_of_the_caller(shards):
    connection = shards.connection
    connection.execute("CREATE ROLE stranger")
    try:
        connection.execute("SET ROLE stranger")
        said = shards.error_of("probes => 1")
        assert (said.sqlstate, said.message_primary) == ("42501", "permission denied for table everything")
        connection.execute("RESET ROLE; GRANT SELECT ON everything, part_3 TO stranger; SET ROLE stranger")
        # A right to the table is none to the servers, and dblink wants a password of who is no superuser.
        said = shards.error_of("probes => 1")
        assert "user mapping" in said.message_primary and said.sqlstate == "42704", said.message_primary
        mapping = "CREATE USER MAPPING FOR stranger SERVER server_0 OPTIONS (user 'reader')"
        connection.execute(f"RESET ROLE; {mapping}; SET ROLE stranger")
        assert shards.error_of("probes => 1").sqlstate == "42501"
        connection.execute("RESET ROLE; GRANT USAGE ON FOREIGN SERVER server_0 TO stranger; SET ROLE stranger")
        assert shards.error_of("probes => 1").sqlstate == "2F003"
        connection.execute("RESET ROLE; ALTER TABLE everything ENABLE ROW LEVEL SECURITY; SET ROLE stranger")
        said = shards.error_of("probes => 1")
        assert said.sqlstate == "0A000" and said.message_primary.endswith("which has row-level security")
    finally:
        connection.execute("RESET ROLE; DROP USER MAPPING IF EXISTS FOR stranger SERVER server_0")
        connection.execute("DROP OWNED BY stranger; DROP ROLE stranger")


def test_a_missing_dblink_is_said_where_it_is_needed(shards):
    connection = shards.connection
    connection.execute("DROP EXTENSION dblink")
    said = shards.error_of("probes => 1")
    assert (said.sqlstate, said.message_primary) == ("42704", 'extension "dblink" is not installed in this database')
    assert said.message_hint.endswith("CREATE EXTENSION dblink.")
    # Tables that are here need none.
    sql = "SELECT count(*) FROM vectorgpu.search_shards('part_3', 'embedding', ARRAY[%s::vector], 7)"
    assert connection.execute(sql, (vector_text(items.uniform(1, DIMS)[0]),)).fetchone() == (7,)
    # Wherever it is installed, it is found.
    connection.execute('CREATE SCHEMA "other\'s"; CREATE EXTENSION dblink SCHEMA "other\'s"')
    assert len(shards.search(items.uniform(1, DIMS, seed=3), 5)) == 5
