"""Bad input: one clear error with the right SQLSTATE, and the session goes on."""

from __future__ import annotations

import struct

import items
import psycopg
import pytest
from vectors import vector_text

COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)


@pytest.fixture
def table(connection: psycopg.Connection) -> psycopg.Connection:
    """A small indexed table of three dimensions."""
    items.create_items(connection, items.uniform(100, 3))
    items.create_index(connection, 5)
    connection.execute("CREATE TABLE bare (embedding vector)")
    connection.execute("CREATE TABLE wide (a vector(3), b vector(3))")
    return connection


def sqlstate(connection: psycopg.Connection, sql: str) -> str:
    """Runs a statement that must fail; returns its SQLSTATE. The session must go on, the index must stay sound."""
    with pytest.raises(psycopg.Error) as raised:
        connection.execute(sql)
    assert items.verify(connection) == 100
    return raised.value.sqlstate


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("", "22P02"),
        ("1,2,3", "22P02"),
        ("[1,2", "22P02"),
        ("[1,2,3]x", "22P02"),
        ("[1,,3]", "22P02"),
        ("[1,a,3]", "22P02"),
        ("[1 2 3]", "22P02"),
        ("{1,2,3}", "22P02"),
        ("[]", "22000"),
        ("[1,NaN,3]", "22000"),
        ("[1,Infinity,3]", "22000"),
        ("[1,1e400,3]", "22003"),
        ("[1,2]", "22000"),
        ("[1,2,3,4]", "22000"),
        ("[" + "1," * 16_000 + "1]", "54000"),
    ],
    ids=lambda value: value if len(value) < 20 else "long",
)
def test_malformed_text_is_refused_at_insert_and_at_query(table, text, state):
    assert sqlstate(table, f"INSERT INTO items VALUES (1000, '{text}')") == state
    # A query of another dimension is well-formed text; the distance refuses it.
    table.execute("SET enable_seqscan = off")
    assert sqlstate(table, f"SELECT id FROM items ORDER BY embedding <-> '{text}' LIMIT 1") == state


def test_messages_name_both_dimensions(table):
    with pytest.raises(psycopg.Error, match="expected 3 dimensions, not 2"):
        table.execute("INSERT INTO items VALUES (1000, '[1,2]')")
    with pytest.raises(psycopg.Error, match="different vector dimensions 3 and 2"):
        table.execute("SELECT embedding <-> '[1,2]' FROM items")
    table.execute("SET enable_seqscan = off")
    with pytest.raises(psycopg.Error, match="different vector dimensions"):
        table.execute("SELECT id FROM items ORDER BY embedding <-> '[1,2]' LIMIT 1")


def test_cast_of_a_wrong_array_is_refused(table):
    assert sqlstate(table, "SELECT ARRAY[1, NULL, 3]::real[]::vector") == "22004"
    assert sqlstate(table, "SELECT ARRAY[[1, 2], [3, 4]]::real[]::vector") == "22000"
    assert sqlstate(table, "SELECT '{}'::real[]::vector") == "22000"
    assert sqlstate(table, "SELECT ARRAY[1, 2]::real[]::vector(3)") == "22000"


@pytest.mark.parametrize(
    "options",
    [
        "lists = -1",
        "lists = 32769",
        "lists = 1e12",
        "lists = abc",
        "storage = 'f8'",
        "storage = ''",
        "probes = -1",
        "probes = 32769",
        "no_such_option = 1",
    ],
)
def test_absurd_options_are_refused(table, options):
    create = f"CREATE INDEX absurd ON items USING ivf (embedding vector_l2_ops) WITH ({options})"
    assert sqlstate(table, create) == "22023"


@pytest.mark.parametrize(
    "setting",
    [
        "vectorgpu.probes = 40000",
        "vectorgpu.probes = 'many'",
        "vectorgpu.max_probes = -5",
        "vectorgpu.iterative_scan = 'sometimes'",
        "vectorgpu.allow_software_gpu = 'perhaps'",
    ],
)
def test_absurd_settings_are_refused(table, setting):
    # The library is loaded by now, so that the settings are known.
    assert sqlstate(table, f"SET {setting}") == "22023"


def test_unknown_setting_of_ours_is_refused(table):
    assert sqlstate(table, "SET vectorgpu.no_such_setting = 1") in {"42602", "42704"}


@pytest.mark.parametrize(
    ("sql", "state"),
    [
        ("CREATE INDEX ON bare USING ivf (embedding vector_l2_ops)", "22023"),
        ("CREATE INDEX ON wide USING ivf (a vector_l2_ops, b vector_l2_ops)", "0A000"),
        ("CREATE UNIQUE INDEX ON items USING ivf (embedding vector_l2_ops)", "0A000"),
        ("CREATE INDEX ON items USING ivf (embedding vector_l2_ops) INCLUDE (id)", "0A000"),
        ("CREATE INDEX ON items USING ivf (id)", "42704"),
        ("CREATE INDEX ON items USING ivf (embedding no_such_ops)", "42704"),
        ("CREATE TABLE t (e vector(0))", "22023"),
        ("CREATE TABLE t (e vector(16001))", "22023"),
        ("CREATE TABLE t (e vector(3, 4))", "22023"),
    ],
)
def test_impossible_ddl_is_refused(table, sql, state):
    assert sqlstate(table, sql) == state


@pytest.mark.parametrize("relation", ["items", "items_pkey", "pg_class"])
@pytest.mark.parametrize("function", ["verify", "index_info"])
def test_functions_refuse_what_is_no_ivf_index(table, function, relation):
    assert sqlstate(table, f"SELECT * FROM vectorgpu.{function}('{relation}')") in {"42809", "22023"}


@pytest.mark.parametrize(
    "field",
    [
        b"",
        b"\x00",
        struct.pack(">hh", 3, 0),
        struct.pack(">hhff", 3, 0, 1, 2),
        struct.pack(">hhffff", 3, 0, 1, 2, 3, 4),
        struct.pack(">hh", 0, 0),
        struct.pack(">hhfff", -3, 0, 1, 2, 3),
        struct.pack(">hhfff", 3, 7, 1, 2, 3),
        struct.pack(">hhfff", 3, 0, 1, float("nan"), 3),
        struct.pack(">hhfff", 3, 0, 1, float("inf"), 3),
        struct.pack(">hhff", 2, 0, 1, 2),
        struct.pack(">hh", 32_767, 0) + bytes(4 * 32_767),
    ],
    ids=[
        "empty",
        "one_byte",
        "no_values",
        "value_missing",
        "value_too_many",
        "no_dimensions",
        "negative",
        "unused_set",
        "nan",
        "infinite",
        "other_dimension",
        "too_many_dimensions",
    ],
)
def test_malformed_binary_is_refused(table, field):
    row = struct.pack(">hii", 2, 4, 1_000) + struct.pack(">i", len(field)) + field
    with (
        pytest.raises(psycopg.Error) as raised,
        table.cursor().copy("COPY items (id, embedding) FROM STDIN (FORMAT binary)") as copy,
    ):
        copy.write(COPY_HEADER + row + b"\xff\xff")
    assert raised.value.sqlstate in {"22000", "22P03", "08P01", "54000"}, raised.value
    assert items.verify(table) == 100


def test_binary_round_trip_is_exact(connection):
    rows = items.uniform(500, 7) * 1e30
    items.create_items(connection, rows)
    with connection.cursor().copy("COPY items TO STDOUT (FORMAT binary)") as copy:
        stored = b"".join(bytes(part) for part in copy)
    connection.execute("CREATE TABLE again (id int, embedding vector(7))")
    with connection.cursor().copy("COPY again FROM STDIN (FORMAT binary)") as copy:
        copy.write(stored)
    differing = "SELECT count(*) FROM items JOIN again USING (id) WHERE items.embedding <> again.embedding"
    assert connection.execute(differing).fetchone() == (0,)
    (text,) = connection.execute("SELECT embedding::text FROM items WHERE id = 0").fetchone()
    assert connection.execute("SELECT %s::vector = %s::vector", (text, vector_text(rows[0]))).fetchone() == (True,)


def test_ordinary_user_can_use_everything_that_only_reads(connection):
    items.create_items(connection, items.uniform(1_000, 3))
    items.create_index(connection, 5)
    connection.execute("DROP ROLE IF EXISTS reader")
    connection.execute("CREATE ROLE reader")
    try:
        connection.execute("GRANT SELECT ON items TO reader")
        connection.execute("SET ROLE reader")
        assert len(items.through_index(connection, items.uniform(1, 3)[0], items.Scan())) == 10
        connection.execute("SELECT * FROM vectorgpu.devices()").fetchall()
        assert connection.execute("SELECT count(*) FROM vectorgpu.last_scan()").fetchone() == (1,)
    finally:
        connection.execute("RESET ROLE")
        connection.execute("DROP OWNED BY reader")
        connection.execute("DROP ROLE reader")
