"""Logical replication: every type arrives at a subscriber, whose own indexes find the rows."""

from __future__ import annotations

import items
import numpy as np
import psycopg
import pytest
from cluster import Cluster
from progress import wait_until
from vectors import vector_text

ROWS, DIMS, LISTS = 2_000, 16, 10
TABLE = f"""
    CREATE TABLE items (id int PRIMARY KEY, embedding vector({DIMS}), half halfvec({DIMS}), sparse sparsevec({DIMS}),
        bits bit({DIMS}), plain vector)
"""
# Every column from the vector: signs and zeros as well.
DERIVED = f"""
    INSERT INTO items SELECT id, embedding, embedding::halfvec({DIMS}), embedding::sparsevec({DIMS}),
        binary_quantize(embedding)::bit({DIMS}), CASE WHEN id % 7 > 0 THEN subvector(embedding, 1, 1 + id % 7) END
    FROM loaded
"""
# The wire formats of whole rows: equal bytes are equal values.
CONTENT = """
    SELECT id, vector_send(embedding), halfvec_send(half), sparsevec_send(sparse), bits::text, vector_send(plain)
    FROM items ORDER BY id
"""


def load(connection: psycopg.Connection, first_id: int, rows: int, seed: int) -> None:
    """Adds random rows with zeros in them."""
    vectors = items.uniform(rows, DIMS, seed) - 0.5
    vectors[np.abs(vectors) < 0.1] = 0
    connection.execute(f"CREATE TEMP TABLE IF NOT EXISTS loaded (id int, embedding vector({DIMS}))")
    connection.execute("TRUNCATE loaded")
    items.copy_vectors(connection, "loaded", vectors, first_id)
    connection.execute(DERIVED)


def subscribe(publisher: Cluster, connection: psycopg.Connection, binary: str) -> None:
    """Subscribes to `all_items` and waits until its tables are copied."""
    connection.execute(
        f"CREATE SUBSCRIPTION mirror CONNECTION '{publisher.dsn()}' PUBLICATION all_items WITH (binary = {binary})"
    )
    ready = "SELECT count(*) = 1 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel"
    wait_until(lambda: connection.execute(ready).fetchone()[0], "the copy of the table", every_s=0.05)


def wait_for_apply(publisher: psycopg.Connection) -> None:
    """Waits until the subscriber has applied everything that is written."""
    (position,) = publisher.execute("SELECT pg_current_wal_lsn()").fetchone()
    applied = "SELECT count(*) FROM pg_stat_replication WHERE application_name = 'mirror' AND replay_lsn >= %s::pg_lsn"
    wait_until(lambda: publisher.execute(applied, (position,)).fetchone()[0] == 1, "applied changes", every_s=0.05)


def assert_indexes_find_all(connection: psycopg.Connection) -> None:
    """Asserts that a search of either index gives what one of all rows gives, and that the index was used."""
    connection.execute("VACUUM (INDEX_CLEANUP on) items")
    for column, name, operator, index in (
        ("embedding", "vector", "<->", "items_ivf"),
        ("half", "halfvec", "<=>", "halves_ivf"),
    ):
        distance = f"{column} {operator} %(q)s::{name}"
        sql = f"SELECT id, {distance} FROM items ORDER BY {distance} LIMIT 30"
        (rows,) = connection.execute(f"SELECT count({column}) FROM items").fetchone()
        assert items.verify(connection, index) == rows
        for query in items.uniform(4, DIMS, seed=8) - 0.5:
            arguments = {"q": vector_text(query)}
            answers = []
            for off in ("enable_seqscan", "enable_indexscan"):
                with connection.transaction():
                    connection.execute(f"SET LOCAL {off} = off")
                    connection.execute(f"SET LOCAL vectorgpu.probes = {LISTS}")
                    plan = "\n".join(row[0] for row in connection.execute("EXPLAIN " + sql, arguments, prepare=False))
                    assert (index in plan) == (off == "enable_seqscan"), plan
                    answers.append(connection.execute(sql, arguments, prepare=False).fetchall())
            items.assert_same_answer(*answers)


@pytest.mark.parametrize("binary", ["false", "true"])
@pytest.mark.parametrize("identity", ["DEFAULT", "FULL"])
def test_a_subscriber_has_every_row_of_every_type_and_finds_it_by_its_own_indexes(make_cluster, binary, identity):
    publisher, subscriber = (make_cluster({"wal_level": "logical", "shared_buffers": "32MB"}) for _ in range(2))
    with (
        psycopg.connect(publisher.dsn(), autocommit=True) as source,
        psycopg.connect(subscriber.dsn(), autocommit=True) as target,
    ):
        for connection in (source, target):
            connection.execute("CREATE EXTENSION vectorgpu")
            connection.execute(TABLE)
        load(source, 0, ROWS, seed=1)
        if identity == "FULL":
            source.execute("ALTER TABLE items DROP CONSTRAINT items_pkey")
            source.execute("ALTER TABLE items REPLICA IDENTITY FULL")
            # The subscriber then looks rows up by comparing all of their columns.
            target.execute("ALTER TABLE items DROP CONSTRAINT items_pkey")
        source.execute("CREATE PUBLICATION all_items FOR TABLE items")
        target.execute(f"CREATE INDEX items_ivf ON items USING ivf (embedding vector_l2_ops) WITH (lists = {LISTS})")
        subscribe(publisher, target, binary)
        # The index that was there grew row by row with the copy; this one is built from what came.
        target.execute(f"CREATE INDEX halves_ivf ON items USING ivf (half halfvec_cosine_ops) WITH (lists = {LISTS})")
        assert target.execute(CONTENT).fetchall() == source.execute(CONTENT).fetchall()
        assert_indexes_find_all(target)
        load(source, 100_000, 500, seed=2)
        source.execute("UPDATE items SET embedding = embedding + embedding, half = NULL WHERE id % 100 = 3")
        source.execute("UPDATE items SET plain = subvector(embedding, 2, 2) WHERE id % 100 = 4")
        source.execute("DELETE FROM items WHERE id % 50 = 0")
        wait_for_apply(source)
        content = target.execute(CONTENT).fetchall()
        assert content == source.execute(CONTENT).fetchall() and len(content) == 2_450
        assert_indexes_find_all(target)
        source.execute("TRUNCATE items")
        load(source, 0, 50, seed=3)
        wait_for_apply(source)
        assert target.execute(CONTENT).fetchall() == source.execute(CONTENT).fetchall()
        assert_indexes_find_all(target)
        target.execute("DROP SUBSCRIPTION mirror")
