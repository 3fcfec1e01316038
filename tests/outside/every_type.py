"""A database that has every type of the extension wherever a type can stand, and an index of every operator class.

What moves databases (pg_dump, pg_upgrade) has to bring all of it to the other side.
"""

from __future__ import annotations

import items
import psycopg

DIMS, ROWS, LISTS = 8, 600, 5

OPERATOR_CLASSES = """
    SELECT c.opcname, t.typname, o.oprname FROM pg_opclass c
    JOIN pg_am m ON m.oid = c.opcmethod AND m.amname = 'ivf'
    JOIN pg_type t ON t.oid = c.opcintype
    JOIN pg_amop a ON a.amopfamily = c.opcfamily
    JOIN pg_operator o ON o.oid = a.amopopr
    ORDER BY 1
"""
# The column of the table `things` that has each type.
COLUMNS = {"vector": "embedding", "halfvec": "half", "sparsevec": "sparse", "bit": "bits"}

TABLES = f"""
    CREATE DOMAIN unit_vector AS vector({DIMS}) CHECK (vector_norm(VALUE) <= 1.01);
    CREATE TYPE pair AS (single vector({DIMS}), half halfvec({DIMS}));
    CREATE TABLE things (
        id int PRIMARY KEY,
        embedding vector({DIMS}) NOT NULL DEFAULT '{[0] * DIMS}',
        half halfvec({DIMS}),
        sparse sparsevec({DIMS}),
        bits bit({DIMS}),
        many vector[],
        halves halfvec[],
        direction unit_vector,
        together pair,
        length float8 GENERATED ALWAYS AS (l2_distance(embedding, '{[0] * DIMS}')) STORED,
        CONSTRAINT not_far CHECK (embedding <-> '{[0] * DIMS}'::vector < 1000)
    );
    CREATE INDEX things_by_vector ON things (embedding, id);
    CREATE INDEX things_by_half ON things (half);
    CREATE INDEX things_by_sparse ON things (sparse);
    CREATE INDEX things_rounded ON things USING ivf ((embedding::halfvec({DIMS})) halfvec_l2_ops)
        WITH (lists = {LISTS});
    CREATE INDEX things_some ON things USING ivf (embedding vector_l2_ops) WITH (lists = 3, storage = f32, probes = 2)
        WHERE id % 2 = 0;
    CREATE VIEW nearest AS SELECT id, embedding <=> '{[1] * DIMS}' AS distance FROM things ORDER BY 2 LIMIT 5;
    CREATE MATERIALIZED VIEW means AS
        SELECT id % 3 AS part, avg(embedding) AS mean, sum(half) AS total FROM things GROUP BY 1;
    CREATE FUNCTION near(query vector, k int) RETURNS SETOF int LANGUAGE sql STABLE
        BEGIN ATOMIC SELECT id FROM things ORDER BY embedding <-> query LIMIT k; END;
    CREATE STATISTICS things_statistics ON id, embedding FROM things;
"""
ROWS_SQL = f"""
    INSERT INTO things (id, embedding, half, sparse, bits, many, halves, direction, together)
    SELECT id, e, e::halfvec, e::sparsevec, binary_quantize(e)::bit({DIMS}), ARRAY[e, subvector(e, 1, 3)],
        ARRAY[e::halfvec], l2_normalize(e), ROW(e, e::halfvec)::pair
    FROM loaded, LATERAL (SELECT embedding AS e) v
"""
# Everything a row holds, as its types write it to a wire and as text.
CONTENT = """
    SELECT t::text, vector_send(embedding), halfvec_send(half), sparsevec_send(sparse),
        ARRAY(SELECT vector_send(e) FROM unnest(many) e)
    FROM things t ORDER BY id
"""
INDEXES = """
    SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid), indisvalid FROM pg_index
    WHERE indrelid = 'things'::regclass ORDER BY 1
"""


def create(connection: psycopg.Connection) -> None:
    """Makes it all, with one ivf index for each operator class there is."""
    connection.execute(TABLES)
    connection.execute(f"CREATE TEMP TABLE loaded (id int, embedding vector({DIMS}))")
    items.copy_vectors(connection, "loaded", items.uniform(ROWS, DIMS) - 0.4)
    connection.execute(ROWS_SQL)
    connection.execute("REFRESH MATERIALIZED VIEW means")
    for opclass, name, _ in operator_classes(connection):
        connection.execute(
            f"CREATE INDEX by_{opclass} ON things USING ivf ({COLUMNS[name]} {opclass}) WITH (lists = {LISTS})"
        )
    connection.execute("ANALYZE")


def operator_classes(connection: psycopg.Connection) -> list[tuple[str, str, str]]:
    """Name, type and operator of each operator class of ivf."""
    return connection.execute(OPERATOR_CLASSES).fetchall()


def assert_same(copy: psycopg.Connection, original: psycopg.Connection) -> None:
    """Asserts that two databases hold the same and that every index of the copy answers."""
    for sql in (CONTENT, "SELECT part, mean, total FROM means ORDER BY 1", "SELECT * FROM nearest"):
        assert copy.execute(sql).fetchall() == original.execute(sql).fetchall() != [], sql
    near = f"SELECT near('{[0.5] * DIMS}', 7)"
    assert copy.execute(near).fetchall() == original.execute(near).fetchall() != []
    indexes = copy.execute(INDEXES).fetchall()
    assert indexes == original.execute(INDEXES).fetchall()
    for opclass, name, operator in operator_classes(copy):
        index = f"by_{opclass}"
        assert items.verify(copy, index) == ROWS
        assert_answers(copy, index, f"{COLUMNS[name]} {operator}", name)


def assert_answers(connection: psycopg.Connection, index: str, distance: str, name: str) -> None:
    """Asserts that a search by an index gives the distances of a search without."""
    vector = f"'{[0.3] * DIMS}'::vector"
    query = {"vector": vector, "bit": f"B'{'01' * (DIMS // 2)}'"}.get(name, f"{vector}::{name}")
    sql = f"SELECT {distance} {query} FROM things ORDER BY {distance} {query} LIMIT 40"
    answers = []
    for off in ("enable_seqscan", "enable_indexscan"):
        with connection.transaction(force_rollback=True):
            # The partial index and the other one of vectors would do as well.
            if off == "enable_seqscan":
                connection.execute("DROP INDEX IF EXISTS things_some")
            connection.execute(f"SET LOCAL {off} = off")
            connection.execute(f"SET LOCAL vectorgpu.probes = {LISTS}")
            plan = "\n".join(line for (line,) in connection.execute("EXPLAIN " + sql))
            assert (index in plan) == (off == "enable_seqscan"), plan
            answers.append(connection.execute(sql).fetchall())
    assert answers[0] == answers[1] and len(answers[0]) == 40
