"""In one database with pgvector: each under its own schema, and values that go from one to the other as they are.

Needs a server that has the extension `vector`, too; without it all but one of these tests are skipped.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import psycopg
import pytest

TYPES = {
    "vector": ("vector(3)", "[1,2,3]"),
    "halfvec": ("halfvec(3)", "[0.5,-2,65504]"),
    "sparsevec": ("sparsevec(9)", "{1:1.5,9:-2}/9"),
}


def is_there(connection: psycopg.Connection) -> bool:
    """Whether the server has pgvector."""
    found = connection.execute("SELECT FROM pg_available_extensions WHERE name = 'vector'").fetchone()
    return found is not None


@pytest.fixture(params=["pgvector first", "vectorgpu first"])
def both(connection: psycopg.Connection, request: pytest.FixtureRequest) -> psycopg.Connection:
    """A database with pgvector in public and vectorgpu in the schema gpu, made in either order."""
    if not is_there(connection):
        pytest.skip("the server has no extension vector")
    connection.execute("DROP EXTENSION vectorgpu CASCADE")
    connection.execute("CREATE SCHEMA gpu")
    statements = ["CREATE EXTENSION vector SCHEMA public", "CREATE EXTENSION vectorgpu SCHEMA gpu"]
    for statement in statements if request.param == "pgvector first" else reversed(statements):
        connection.execute(statement)
    return connection


def test_without_pgvector_there_is_nothing_to_cast(connection):
    with pytest.raises(psycopg.errors.UndefinedObject, match='extension "vector" is not installed'):
        connection.execute("SELECT vectorgpu.create_pgvector_casts()")


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


def run(*command: object) -> None:
    """Runs a client program and shows what it says when it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
