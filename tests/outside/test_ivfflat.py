"""Applications of pgvector whose DDL and settings say `ivfflat`, unchanged, where vectorgpu is in its place."""

from __future__ import annotations

from pathlib import Path

import items
import numpy as np
import psycopg
import pytest
from conftest import use_gpu
from items import Scan
from pgvector import Bit, HalfVector
from pgvector.psycopg import register_vector
from programs import run_program

LISTS = 20
ROWS = 2_000
DIMS = 16


@pytest.fixture
def application(connection: psycopg.Connection) -> psycopg.Connection:
    """The database of an application that says `ivfflat`."""
    connection.execute("SELECT vectorgpu.create_ivfflat()")
    return connection


@pytest.fixture
def indexed(application: psycopg.Connection) -> psycopg.Connection:
    """The same with a table and an index on it."""
    items.create_items(application, items.uniform(ROWS, DIMS))
    ddl = f"CREATE INDEX items_ivf ON items USING ivfflat (embedding vector_l2_ops) WITH (lists = {LISTS})"
    application.execute(ddl)
    application.execute("SET enable_seqscan = off")
    return application


def probes(connection: psycopg.Connection, index: str = "items_ivf") -> int:
    """Lists that a scan of the index reads at a time."""
    return connection.execute("SELECT probes FROM vectorgpu.index_info(%s::regclass)", [index]).fetchone()[0]


def scan(connection: psycopg.Connection, limit: int) -> tuple[int, int]:
    """How many rows a scan returns, and how many lists it reads."""
    sql = f"SELECT id FROM items ORDER BY embedding <-> '{items.vector_text(np.full(DIMS, 0.5, np.float32))}'"
    sql += f" LIMIT {limit}"
    assert "items_ivf" in str(connection.execute("EXPLAIN " + sql).fetchall())
    found = len(connection.execute(sql).fetchall())
    return found, connection.execute("SELECT lists_probed FROM vectorgpu.last_scan()").fetchone()[0]


def test_pgvectors_ddl_and_its_python_client_work_as_they_are(application):
    register_vector(application)
    application.execute("CREATE TABLE items (id int, embedding vector(3), half halfvec(3), bits bit(8))")
    rows = [(i, np.array([i, 1, 2]), HalfVector([i, 1, 2]), Bit(np.arange(8) < i % 8)) for i in range(300)]
    with application.cursor() as cursor:
        cursor.executemany("INSERT INTO items VALUES (%s, %s, %s, %s)", rows)
    application.execute("SET enable_seqscan = off")
    columns = {"vector": ("embedding", np.array([20, 1, 2])), "halfvec": ("half", HalfVector([20, 1, 2]))}
    operators = {"l2": "<->", "ip": "<#>", "cosine": "<=>"}
    for name, (column, query) in columns.items():
        for metric, operator in operators.items():
            application.execute(f"CREATE INDEX ON items USING ivfflat ({column} {name}_{metric}_ops) WITH (lists = 10)")
            application.execute("SET ivfflat.probes = 10")
            sql = f"SELECT {column} {operator} %(q)s FROM items ORDER BY {column} {operator} %(q)s LIMIT 5"
            assert f"items_{column}_idx" in str(application.execute("EXPLAIN " + sql, {"q": query}).fetchall())
            nearest = application.execute(sql, {"q": query}).fetchall()
            # The index orders as the operator does.
            with application.transaction(force_rollback=True):
                application.execute("SET LOCAL enable_indexscan = off")
                application.execute("SET LOCAL enable_seqscan = on")
                assert application.execute(sql, {"q": query}).fetchall() == nearest
            application.execute(f"DROP INDEX items_{column}_idx")
    application.execute("CREATE INDEX ON items USING ivfflat (bits bit_hamming_ops) WITH (lists = 3)")
    sql = "SELECT bits <~> %s FROM items ORDER BY bits <~> %s LIMIT 1"
    bits = Bit([True] * 3 + [False] * 5)
    assert application.execute(sql, [bits, bits]).fetchone() == (0,)
    # Without a class it is that of Euclidean distance, and without lists their number follows from the rows.
    application.execute("CREATE INDEX items_ivf ON items USING ivfflat (embedding)")
    metric, lists = application.execute("SELECT metric, lists FROM vectorgpu.index_info('items_ivf')").fetchone()
    assert (metric, lists) == ("l2", 17)


def test_its_classes_are_those_of_ivf(application):
    application.execute("SELECT vectorgpu.create_ivfflat()")
    classes = {
        name: application.execute(
            "SELECT opcname, opcintype::regtype, opcdefault, amvalidate(c.oid), obj_description(c.oid, 'pg_opclass') "
            "FROM pg_opclass c JOIN pg_am a ON a.oid = opcmethod WHERE amname = %s ORDER BY 1",
            [name],
        ).fetchall()
        for name in ("ivf", "ivfflat")
    }
    assert classes["ivfflat"] == classes["ivf"]
    names = {name for name, _, _, is_valid, comment in classes["ivfflat"] if is_valid and comment}
    assert {"vector_l2_ops", "vector_ip_ops", "vector_cosine_ops", "halfvec_l2_ops", "bit_hamming_ops"} <= names


def test_functions_know_its_indexes(indexed):
    assert items.verify(indexed) == ROWS
    assert indexed.execute("SELECT metric, lists FROM vectorgpu.index_info('items_ivf')").fetchone() == ("l2", LISTS)
    found = indexed.execute(
        "SELECT rank FROM vectorgpu.search('items_ivf', ARRAY[array_fill(0.5, %s)::vector], 5)", ["{16}"]
    )
    assert [rank for (rank,) in found] == [1, 2, 3, 4, 5]
    joined = indexed.execute("SELECT count(*) FROM vectorgpu.knn_join('items', 'embedding', 'items_ivf', 3)")
    assert joined.fetchone() == (3 * ROWS,)
    indexed.execute("CREATE TABLE others (id int)")
    indexed.execute("CREATE INDEX others_id ON others (id)")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match='index "others_id" is not an ivf index'):
        indexed.execute("SELECT vectorgpu.verify('others_id')")


def test_its_indexes_are_copied_to_a_device(indexed, gpu_device):
    use_gpu(indexed)
    assert indexed.execute("SELECT device, rows FROM vectorgpu.prewarm('items_ivf')").fetchone() == (gpu_device, ROWS)
    scan(indexed, 5)
    assert indexed.execute("SELECT device FROM vectorgpu.last_scan()").fetchone() == (gpu_device,)


def test_the_number_of_probes_is_vectorgpus_then_pgvectors_then_the_indexs(indexed):
    assert probes(indexed) == 4, "the root of the lists"
    indexed.execute("ALTER INDEX items_ivf SET (probes = 3)")
    assert probes(indexed) == 3
    indexed.execute("SET ivfflat.probes = 7")
    assert probes(indexed) == 7
    indexed.execute("SET vectorgpu.probes = 9")
    assert probes(indexed) == 9
    indexed.execute("RESET vectorgpu.probes")
    indexed.execute("SET ivfflat.probes = '1000'")
    assert probes(indexed) == LISTS, "no more than there are"
    indexed.execute("RESET ivfflat.probes")
    with indexed.transaction():
        indexed.execute("SET LOCAL ivfflat.probes = 5")
        assert (probes(indexed), scan(indexed, 5)[1]) == (5, 5)
    # What the server leaves of it is an empty text.
    assert indexed.execute("SELECT current_setting('ivfflat.probes')").fetchone() == ("",)
    assert probes(indexed) == 3


def test_its_settings_are_nothing_to_ivf(indexed):
    indexed.execute(f"CREATE INDEX items_other ON items USING ivf (embedding vector_l2_ops) WITH (lists = {LISTS})")
    indexed.execute("SET ivfflat.probes = 'many'")
    assert probes(indexed, "items_other") == 4


def test_scans_go_on_as_pgvectors_settings_say(indexed):
    indexed.execute("SET ivfflat.probes = 2")
    assert scan(indexed, ROWS)[1] == LISTS, "it goes on as vectorgpu.iterative_scan says, as long as nothing is set"
    indexed.execute("SET ivfflat.iterative_scan = off")
    few, lists = scan(indexed, ROWS)
    assert lists == 2 and few < ROWS
    indexed.execute("SET ivfflat.iterative_scan = Relaxed_Order")
    assert scan(indexed, ROWS) == (ROWS, LISTS)
    indexed.execute("SET ivfflat.max_probes = 6")
    some, lists = scan(indexed, ROWS)
    assert lists == 6 and few < some < ROWS


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("probes", "0", r'0 is outside the valid range for parameter "ivfflat.probes" \(1 .. 32768\)'),
        ("probes", "-1", r'-1 is outside the valid range for parameter "ivfflat.probes" \(1 .. 32768\)'),
        ("probes", "ten", 'invalid value for parameter "ivfflat.probes": "ten"'),
        ("probes", "10 lists", 'invalid value for parameter "ivfflat.probes": "10 lists"'),
        ("max_probes", "32769", r'32769 is outside the valid range for parameter "ivfflat.max_probes" \(1 .. 32768\)'),
        ("iterative_scan", "strict_order", 'invalid value for parameter "ivfflat.iterative_scan": "strict_order"'),
    ],
)
def test_a_value_that_pgvector_refuses_is_refused_when_it_is_needed(indexed, name, value, message):
    indexed.execute(f"SET ivfflat.{name} = '{value}'")
    for sql in [
        "SELECT vectorgpu.index_info('items_ivf')",
        "SELECT id FROM items ORDER BY embedding <-> '[1]' LIMIT 1",
    ]:
        with pytest.raises(psycopg.errors.InvalidParameterValue, match=message):
            indexed.execute(sql)
    indexed.execute(f"RESET ivfflat.{name}")
    scan(indexed, 5)


def test_the_options_range_is_pgvectors_and_more(application):
    application.execute("CREATE TABLE items (embedding vector(3))")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match='value 32769 out of bounds for option "lists"'):
        application.execute("CREATE INDEX ON items USING ivfflat (embedding vector_l2_ops) WITH (lists = 32769)")
    application.execute(
        "CREATE INDEX ON items USING ivfflat (embedding vector_l2_ops) WITH (lists = 0, storage = int8)"
    )


def test_a_name_that_is_taken_stays_as_it_is(connection):
    connection.execute("CREATE ACCESS METHOD ivfflat TYPE INDEX HANDLER bthandler")
    with pytest.raises(psycopg.errors.DuplicateObject, match='access method "ivfflat" already exists') as refused:
        connection.execute("SELECT vectorgpu.create_ivfflat()")
    assert "pgvector" in refused.value.diag.message_hint
    handler = connection.execute("SELECT amhandler::text FROM pg_am WHERE amname = 'ivfflat'").fetchone()
    assert handler == ("bthandler",)


@pytest.mark.parametrize("set_first", [True, False])
def test_pgvector_in_the_same_process_may_define_the_settings(indexed, set_first):
    there = indexed.execute("SELECT FROM pg_available_extensions WHERE name = 'vector'").fetchone()
    if there is None:
        pytest.skip("the server has no extension vector")
    if set_first:
        indexed.execute("SET ivfflat.probes = 6")
        assert probes(indexed) == 6
    indexed.execute("LOAD 'vector'")
    if not set_first:
        assert probes(indexed) == 1, "what pgvector takes while nothing is set"
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="outside the valid range"):
            indexed.execute("SET ivfflat.probes = 0")
        indexed.execute("SET ivfflat.probes = 6")
    assert scan(indexed, 5)[1] == 6


def test_a_dump_brings_the_name_its_classes_and_indexes_back(indexed, shared_cluster, bindir: Path, tmp_path: Path):
    dump = str(tmp_path / "dump")
    run_program(bindir, "pg_dump", "-d", shared_cluster.dsn("test"), "--format=custom", f"--file={dump}")
    indexed.execute("DROP DATABASE IF EXISTS restored WITH (FORCE)")
    indexed.execute("CREATE DATABASE restored")
    run_program(bindir, "pg_restore", "-d", shared_cluster.dsn("restored"), "--exit-on-error", dump)
    with psycopg.connect(shared_cluster.dsn("restored"), autocommit=True) as restored:
        assert "USING ivfflat" in restored.execute("SELECT pg_get_indexdef('items_ivf'::regclass)").fetchone()[0]
        assert items.verify(restored) == ROWS
        query = items.uniform(1, DIMS, seed=8)[0]
        everything = Scan(probes=LISTS, limit=None)
        indexed.execute("RESET enable_seqscan")
        items.assert_same_answer(
            items.through_index(restored, query, everything), items.exact(indexed, query, everything)
        )
    indexed.execute("DROP DATABASE restored WITH (FORCE)")


def test_it_goes_with_the_extension_once_nothing_needs_it(indexed):
    with pytest.raises(psycopg.errors.DependentObjectsStillExist) as refused:
        indexed.execute("DROP EXTENSION vectorgpu")
    assert "access method ivfflat depends on function ivfhandler(internal)" in refused.value.diag.message_detail
    indexed.execute("DROP EXTENSION vectorgpu CASCADE")
    assert indexed.execute("SELECT FROM pg_am WHERE amname LIKE 'ivf%'").fetchall() == []
