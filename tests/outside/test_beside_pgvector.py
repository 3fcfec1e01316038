"""In one database with pgvector: each under its own schema, and values that go from one to the other as they are.

Needs a server that has the extension `vector`, too; without it all but one of these tests are skipped.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import psycopg
import pytest
from conftest import use_gpu
from items import STORAGES, assert_same_answer
from vectors import vector_text

TYPES = {
    "vector": ("vector(3)", "[1,2,3]"),
    "halfvec": ("halfvec(3)", "[0.5,-2,65504]"),
    "sparsevec": ("sparsevec(9)", "{1:1.5,9:-2}/9"),
}

OPERATORS = {"l2": "<->", "ip": "<#>", "cosine": "<=>", "l1": "<+>"}
LISTS = 12
ROWS = 1_200
DIMS = 100
CLASSES = [
    (name, metric, storage)
    for name in ("vector", "halfvec")
    for metric in OPERATORS
    for storage in STORAGES
    if metric != "l1" or storage in ("f32", "f16")
]


def is_there(connection: psycopg.Connection) -> bool:
    """Whether the server has pgvector."""
    found = connection.execute("SELECT FROM pg_available_extensions WHERE name = 'vector'").fetchone()
    return found is not None


def make_both(connection: psycopg.Connection, statements: list[str]) -> psycopg.Connection:
    """Makes pgvector in public and vectorgpu in the schema gpu."""
    if not is_there(connection):
        pytest.skip("the server has no extension vector")
    connection.execute("DROP EXTENSION vectorgpu CASCADE")
    connection.execute("CREATE SCHEMA gpu")
    for statement in statements:
        connection.execute(statement)
    return connection


PGVECTOR_FIRST = ["CREATE EXTENSION vector SCHEMA public", "CREATE EXTENSION vectorgpu SCHEMA gpu"]


@pytest.fixture(params=["pgvector first", "vectorgpu first"])
def both(connection: psycopg.Connection, request: pytest.FixtureRequest) -> psycopg.Connection:
    """A database with both extensions, made in either order."""
    is_first = request.param == "pgvector first"
    return make_both(connection, PGVECTOR_FIRST if is_first else PGVECTOR_FIRST[::-1])


@pytest.fixture
def in_place(connection: psycopg.Connection) -> psycopg.Connection:
    """A database with both, and classes of ivf for pgvector's types; ivf scans read all lists."""
    make_both(connection, PGVECTOR_FIRST)
    connection.execute("SELECT vectorgpu.create_pgvector_opclasses()")
    connection.execute(f"SET vectorgpu.probes = {LISTS}")
    return connection


def test_without_pgvector_there_is_nothing_to_cast(connection):
    with pytest.raises(psycopg.errors.UndefinedObject, match='extension "vector" is not installed'):
        connection.execute("SELECT vectorgpu.create_pgvector_casts()")


def test_without_pgvector_there_are_no_types_to_make_classes_for(connection):
    with pytest.raises(psycopg.errors.UndefinedObject, match='extension "vector" is not installed'):
        connection.execute("SELECT vectorgpu.create_pgvector_opclasses()")


def test_each_works_under_its_own_name(both):
    both.execute("CREATE TABLE items (id int, theirs vector(3), ours gpu.vector(3))")
    both.execute(
        "INSERT INTO items SELECT i, ARRAY[i, 1, 2]::vector, ARRAY[i, 1, 2]::gpu.vector FROM generate_series(1, 50) i"
    )
    both.execute("CREATE INDEX items_theirs ON items USING hnsw (theirs vector_l2_ops)")
    both.execute("CREATE INDEX items_ours ON items USING ivf (ours gpu.vector_l2_ops) WITH (lists = 1)")
    both.execute("SET enable_seqscan = off")
    for operand, operator, index in [("theirs", "<->", "items_theirs"), ("ours", "OPERATOR(gpu.<->)", "items_ours")]:
        sql = f"SELECT id FROM items ORDER BY {operand} {operator} '[20,1,2]' LIMIT 1"
        assert index in str(both.execute("EXPLAIN " + sql).fetchall())
        assert both.execute(sql).fetchall() == [(20,)]
    found = both.execute("SELECT count(*) FROM vectorgpu.search('items_ours', ARRAY['[1,1,1]'::gpu.vector], 5)")
    assert found.fetchone() == (5,)
    both.execute("SET search_path = gpu, public")
    assert both.execute("SELECT '[1,2,3]'::vector <-> '[1,2,4]', pg_typeof('[1]'::vector)::text").fetchone() == (
        1,
        "vector",
    )


def test_values_go_over_as_they_are_and_no_table_is_rewritten(both):
    both.execute("SELECT vectorgpu.create_pgvector_casts()")
    both.execute("SELECT vectorgpu.create_pgvector_casts()")
    for name, (declared, value) in TYPES.items():
        both.execute(f"CREATE TABLE {name}s (e {declared})")
        both.execute(f"INSERT INTO {name}s VALUES ('{value}'), (NULL)")
        file = f"SELECT pg_relation_filenode('{name}s')"
        before = both.execute(file).fetchone()
        # With dimensions the server checks every row, and writes a table anew for that.
        both.execute(f"ALTER TABLE {name}s ALTER e TYPE gpu.{name}")
        assert both.execute(file).fetchone() == before, "the table was rewritten"
        assert both.execute(f"SELECT e::text FROM {name}s").fetchall() == [(value,), (None,)]
        if name != "sparsevec":
            both.execute(f"CREATE INDEX ON {name}s USING ivf ((e::gpu.{declared}) gpu.{name}_l2_ops) WITH (lists = 1)")
            both.execute(f"DROP INDEX {name}s_e_idx")
        both.execute(f"ALTER TABLE {name}s ALTER e TYPE public.{declared}")
        both.execute(f"INSERT INTO {name}s VALUES ('{value}'::gpu.{name})")
        assert both.execute(f"SELECT count(DISTINCT e) FROM {name}s").fetchone() == (1,)


def test_either_may_go(both, request):
    both.execute("SELECT vectorgpu.create_pgvector_casts()")
    gone, left = ("vector", "gpu.vector") if "first0" in request.node.name else ("vectorgpu", "public.vector")
    both.execute(f"DROP EXTENSION {gone} CASCADE")
    assert both.execute(f"SELECT '[1,2]'::{left}::text").fetchone() == ("[1,2]",)


def test_a_dump_brings_both_back(both, shared_cluster, bindir: Path, tmp_path: Path):
    both.execute("SELECT vectorgpu.create_pgvector_casts()")
    both.execute("CREATE TABLE items (theirs vector(3), ours gpu.vector(3))")
    both.execute("INSERT INTO items VALUES ('[1,2,3]', '[4,5,6]')")
    both.execute("CREATE INDEX items_ours ON items USING ivf (ours gpu.vector_cosine_ops) WITH (lists = 1)")
    dump = tmp_path / "dump.sql"
    run(bindir / "pg_dump", "-d", shared_cluster.dsn("test"), "-f", dump)
    both.execute("DROP DATABASE IF EXISTS beside WITH (FORCE)")
    both.execute("CREATE DATABASE beside")
    run(bindir / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", shared_cluster.dsn("beside"), "-f", dump)
    with psycopg.connect(shared_cluster.dsn("beside"), autocommit=True) as restored:
        row = restored.execute("SELECT theirs::gpu.vector::text, ours::public.vector::text FROM items").fetchone()
        assert row == ("[1,2,3]", "[4,5,6]")
    both.execute("DROP DATABASE beside WITH (FORCE)")


def some_rows(dims: int, seed: int = 5) -> np.ndarray:
    """Vectors in which sums of any order differ in their last bits, with what is awkward among them."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=(ROWS, dims)).astype(np.float32)
    # Near each other, the same, opposite, small, large (within a half's range), and without a direction.
    rows[100:200] = rows[0] * (1 + random.normal(size=(100, 1)).astype(np.float32) * np.float32(1e-6))
    rows[200:230] = rows[1]
    rows[230:260] = -rows[1]
    rows[260:280] *= np.float32(1e-4)
    rows[280:300] *= np.float32(5e3)
    rows[300] = 0
    return rows


def some_queries(rows: np.ndarray) -> list[np.ndarray]:
    """Rows, what is near some, what is far from all, and one without a direction."""
    random = np.random.default_rng(6)
    chosen = [rows[0], rows[1], -rows[1], rows[150] * np.float32(1.0001), rows[290], rows[265], np.zeros_like(rows[0])]
    return chosen + list(random.normal(size=(12, rows.shape[1])).astype(np.float32))


def fill(connection: psycopg.Connection, name: str, rows: np.ndarray, first: int = 0) -> None:
    """Adds rows to the table `items (id, e)`, which is made with a column of pgvector's type first."""
    connection.execute(f"CREATE TABLE IF NOT EXISTS items (id int, e public.{name}({rows.shape[1]}))")
    with connection.cursor().copy("COPY items FROM STDIN") as copy:
        for number, row in enumerate(rows, first):
            copy.write_row((number, vector_text(row)))


def create_index(connection: psycopg.Connection, operator_class: str, storage: str = "auto") -> None:
    """Indexes the table's column as it is."""
    options = f"lists = {LISTS}, storage = '{storage}'"
    connection.execute(f"CREATE INDEX items_ivf ON items USING ivf (e {operator_class}) WITH ({options})")


def nearest(
    connection: psycopg.Connection, metric: str, query: np.ndarray, limit: int | None, through: str
) -> list[tuple[int, float]]:
    """The nearest rows, by a sequential scan or an index scan, as `through` says."""
    other = {"Seq Scan": "indexscan", "Index Scan": "seqscan"}[through]
    sql = f"SELECT id, e {OPERATORS[metric]} '{vector_text(query)}' FROM items ORDER BY 2"
    sql += "" if limit is None else f" LIMIT {limit}"
    with connection.transaction():
        connection.execute(f"SET LOCAL enable_{other} = off")
        plan = str(connection.execute("EXPLAIN " + sql).fetchall())
        assert through in plan
        return connection.execute(sql).fetchall()


def assert_as_without(connection: psycopg.Connection, metric: str, queries: list[np.ndarray]) -> None:
    """Asserts that the index finds what pgvector's operator finds, bit for bit, the whole table through."""
    for number, query in enumerate(queries):
        limit = None if number % 5 == 0 else 40
        exact = nearest(connection, metric, query, limit, "Seq Scan")
        found = nearest(connection, metric, query, limit, "Index Scan")
        # A distance that is no number comes last, and is equal to itself.
        assert_same_answer(
            [(row, str(distance)) for row, distance in found], [(row, str(distance)) for row, distance in exact]
        )


@pytest.mark.parametrize(("name", "metric", "storage"), CLASSES)
def test_a_column_of_pgvectors_is_searched_in_place_in_pgvectors_order(in_place, name, metric, storage):
    rows = some_rows(DIMS)
    fill(in_place, name, rows)
    file = in_place.execute("SELECT pg_relation_filenode('items')").fetchone()
    create_index(in_place, f"{name}_{metric}_ops", storage)
    assert in_place.execute("SELECT pg_relation_filenode('items')").fetchone() == file, "the table was rewritten"
    assert_as_without(in_place, metric, some_queries(rows))
    assert in_place.execute("SELECT vectorgpu.verify('items_ivf')").fetchone() == (ROWS,)


@pytest.mark.parametrize(("name", "storage"), [("vector", "f32"), ("vector", "rabitq"), ("halfvec", "int8")])
@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
def test_rows_compared_on_a_device_come_in_pgvectors_order(in_place, gpu_device, metric, name, storage):
    rows = some_rows(DIMS)
    fill(in_place, name, rows)
    create_index(in_place, f"{name}_{metric}_ops", storage)
    use_gpu(in_place)
    in_place.execute("SELECT vectorgpu.prewarm('items_ivf')")
    assert_as_without(in_place, metric, some_queries(rows))
    nearest(in_place, metric, rows[700], 5, "Index Scan")
    device, why = in_place.execute("SELECT device, why FROM vectorgpu.last_scan()").fetchone()
    assert device == gpu_device, why


@pytest.mark.parametrize(
    ("name", "metric", "operator"),
    [
        *(("sparsevec", metric, operator) for metric, operator in OPERATORS.items()),
        ("bit", "hamming", "<~>"),
        ("bit", "jaccard", "<%>"),
    ],
)
def test_sparse_vectors_and_bits_are_searched_in_place_in_pgvectors_order(in_place, name, metric, operator):
    rows = some_rows(40)
    rows[np.random.default_rng(8).random(rows.shape) < 0.8] = 0
    fill(in_place, "vector", rows)
    becomes = {"sparsevec": "e::public.sparsevec", "bit": "public.binary_quantize(e)::bit(40)"}[name]
    in_place.execute(f"ALTER TABLE items ALTER e TYPE public.{name}(40) USING {becomes}".replace("public.bit", "bit"))
    create_index(in_place, f"{name}_{metric}_ops")
    for row in (0, 1, 230, 290, 500, 501):
        answers = []
        for other in ("indexscan", "seqscan"):
            sql = f"SELECT id, e {operator} (SELECT e FROM items WHERE id = {row}) FROM items ORDER BY 2"
            with in_place.transaction():
                in_place.execute(f"SET LOCAL enable_{other} = off")
                plan = str(in_place.execute("EXPLAIN " + sql).fetchall())
                assert ("Index Scan using items_ivf" in plan) == (other == "seqscan"), plan
                answers.append([(found, str(distance)) for found, distance in in_place.execute(sql)])
        assert_same_answer(*answers)


@pytest.mark.parametrize("storage", STORAGES)
def test_rows_come_and_go(in_place, storage):
    rows = some_rows(24)
    fill(in_place, "vector", rows[:400])
    create_index(in_place, "", storage)
    fill(in_place, "vector", rows[400:], 400)
    in_place.execute("DELETE FROM items WHERE id % 3 = 0")
    in_place.execute("UPDATE items SET e = e + e WHERE id % 5 = 0")
    assert_as_without(in_place, "l2", some_queries(rows))
    in_place.execute("VACUUM (INDEX_CLEANUP on) items")
    assert_as_without(in_place, "l2", some_queries(rows))
    left = in_place.execute("SELECT count(*) FROM items").fetchone()
    assert in_place.execute("SELECT vectorgpu.verify('items_ivf')").fetchone() == left


def test_functions_return_what_pgvectors_operator_returns(in_place):
    rows = some_rows(24)
    fill(in_place, "vector", rows)
    create_index(in_place, "vector_ip_ops")
    queries = some_queries(rows)
    # What an application holds are arrays of pgvector's type.
    in_place.execute("SELECT vectorgpu.create_pgvector_casts()")
    found = in_place.execute(
        "SELECT query, tid = items.ctid, distance, e <#> q[query] "
        "FROM (SELECT %s::text[]::public.vector[]) AS given (q), "
        "vectorgpu.search('items_ivf', q::gpu.vector[], 7) JOIN items ON items.ctid = tid ORDER BY query, rank",
        [[vector_text(query) for query in queries]],
    ).fetchall()
    assert len(found) == 7 * len(queries)
    for number, query in enumerate(queries, 1):
        distances = [distance for of, _, distance, _ in found if of == number]
        assert distances == [distance for _, distance in nearest(in_place, "ip", query, 7, "Seq Scan")]
    assert all(distance == value for _, _, distance, value in found)
    joined = in_place.execute(
        "SELECT distance, a.e <#> b.e FROM vectorgpu.knn_join('items', 'e', 'items_ivf', 3) "
        "JOIN items a ON a.ctid = tid JOIN items b ON b.ctid = neighbour_tid"
    ).fetchall()
    assert len(joined) == 3 * ROWS
    assert all(distance == value for distance, value in joined)


def test_classes_stand_with_pgvectors_types_and_are_the_default_where_ours_are(in_place):
    # Of both extensions there are classes with these names; they differ by schema and access method.
    in_place.execute("SELECT vectorgpu.create_pgvector_opclasses()")
    classes = in_place.execute(
        "SELECT c.opcname::text, c.opcdefault, amvalidate(c.oid), obj_description(c.oid, 'pg_opclass') IS NOT NULL "
        "FROM pg_opclass c JOIN pg_am a ON a.oid = opcmethod "
        "WHERE amname = 'ivf' AND opcnamespace = 'public'::regnamespace ORDER BY 1"
    ).fetchall()
    names = [f"{name}_{metric}_ops" for name in ("vector", "halfvec", "sparsevec") for metric in OPERATORS]
    names = sorted([*names, "bit_hamming_ops", "bit_jaccard_ops"])
    assert classes == [(name, name == "vector_l2_ops", True, True) for name in names]
    in_place.execute("CREATE TABLE items (e vector(3), half halfvec(3), ours gpu.vector(3))")
    in_place.execute("CREATE INDEX ON items USING ivf (e) WITH (lists = 1)")
    in_place.execute("CREATE INDEX ON items USING ivf (ours) WITH (lists = 1)")
    in_place.execute("CREATE INDEX ON items USING ivfflat (e vector_l2_ops) WITH (lists = 1)")
    with pytest.raises(psycopg.errors.UndefinedObject):
        in_place.execute("CREATE INDEX ON items USING ivf (half)")
    in_place.execute("SET search_path = gpu, public")
    with pytest.raises(psycopg.errors.DatatypeMismatch, match=r"does not accept data type public\.vector"):
        in_place.execute("CREATE INDEX ON items USING ivf (e vector_l2_ops) WITH (lists = 1)")
    in_place.execute("CREATE INDEX ON items USING ivf (e public.vector_l2_ops) WITH (lists = 1)")


DEPENDENTS = {
    "vector": "operator class vector_l2_ops for access method ivf depends on operator <->(vector,vector)",
    # The classes go with their access method, unless an index needs them.
    "vectorgpu": "index items_ivf depends on operator class vector_l2_ops for access method ivf",
}


@pytest.mark.parametrize("gone", DEPENDENTS)
def test_whoever_drops_either_extension_is_told_what_depends_on_it(in_place, gone):
    fill(in_place, "vector", some_rows(3)[:50])
    in_place.execute("CREATE INDEX items_ivf ON items USING ivf (e vector_l2_ops) WITH (lists = 1)")
    with pytest.raises(psycopg.errors.DependentObjectsStillExist) as refused:
        in_place.execute(f"DROP EXTENSION {gone}")
    assert DEPENDENTS[gone] in refused.value.diag.message_detail
    in_place.execute(f"DROP EXTENSION {gone} CASCADE")
    assert in_place.execute("SELECT count(*) FROM items").fetchone() == (50,)
    assert in_place.execute("SELECT to_regclass('items_ivf')").fetchone() == (None,)
    in_place.execute(f"CREATE EXTENSION {gone} SCHEMA {'public' if gone == 'vector' else 'gpu'}")
    in_place.execute("SELECT vectorgpu.create_pgvector_opclasses()")
    if gone == "vectorgpu":
        in_place.execute("CREATE INDEX items_ivf ON items USING ivf (e vector_l2_ops) WITH (lists = 1)")
        nearest(in_place, "l2", np.zeros(3, np.float32), 5, "Index Scan")


def test_a_dump_brings_classes_and_indexes_on_pgvectors_types_back(in_place, shared_cluster, bindir, tmp_path: Path):
    rows = some_rows(24)
    fill(in_place, "vector", rows)
    create_index(in_place, "vector_cosine_ops")
    dump = tmp_path / "dump"
    run(bindir / "pg_dump", "-d", shared_cluster.dsn("test"), "--format=custom", "-f", dump)
    in_place.execute("DROP DATABASE IF EXISTS beside WITH (FORCE)")
    in_place.execute("CREATE DATABASE beside")
    run(bindir / "pg_restore", "-d", shared_cluster.dsn("beside"), "--exit-on-error", dump)
    with psycopg.connect(shared_cluster.dsn("beside"), autocommit=True) as restored:
        restored.execute(f"SET vectorgpu.probes = {LISTS}")
        assert_as_without(restored, "cosine", some_queries(rows))
        # All are there already.
        restored.execute("SELECT vectorgpu.create_pgvector_opclasses()")
    in_place.execute("DROP DATABASE beside WITH (FORCE)")


def test_a_column_with_dimensions_is_written_anew_when_it_becomes_ours(both):
    both.execute("SELECT vectorgpu.create_pgvector_casts()")
    both.execute("CREATE TABLE items (e vector(3))")
    both.execute("INSERT INTO items VALUES ('[1,2,3]')")
    file = "SELECT pg_relation_filenode('items')"
    before = both.execute(file).fetchone()
    # The cast touches no value, but the server has the dimensions of the new type checked, even of as many.
    both.execute("ALTER TABLE items ALTER e TYPE gpu.vector(3)")
    written = both.execute(file).fetchone()
    assert written != before
    both.execute("ALTER TABLE items ALTER e TYPE gpu.vector")
    assert both.execute(file).fetchone() == written, "to give dimensions up takes no writing"
    both.execute("ALTER TABLE items ALTER e TYPE gpu.vector(3)")
    assert both.execute(file).fetchone() != written
    with pytest.raises(psycopg.errors.DataException, match="expected 4 dimensions, not 3"):
        both.execute("ALTER TABLE items ALTER e TYPE gpu.vector(4)")


def run(*command: object) -> None:
    """Runs a client program and shows what it says when it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
