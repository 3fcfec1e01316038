"""Partitioned tables: one index on the parent, a search that merges those of the partitions."""

from __future__ import annotations

import items
import numpy as np
import psycopg
import pytest
from vectors import vector_text

ROWS, DIMS, LISTS = 6_000, 32, 15
REGIONS = 3
# Type, operator and operator class: what one index each is built with.
CASES = [
    ("vector", "<->", "vector_l2_ops"),
    ("halfvec", "<=>", "halfvec_cosine_ops"),
    ("vector", "<+>", "vector_l1_ops"),
]
CHILDREN = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'items_ivf'::regclass ORDER BY 1"


def create_partitioned(connection: psycopg.Connection, rows: np.ndarray, name: str = "vector") -> None:
    """Makes `items (id, embedding, region)`, partitioned by region: items_0, items_1, items_2, rows in turn."""
    dims = rows.shape[1]
    connection.execute(f"CREATE TABLE items (id int, embedding {name}({dims}), region int) PARTITION BY LIST (region)")
    for region in range(REGIONS):
        connection.execute(f"CREATE TABLE items_{region} PARTITION OF items FOR VALUES IN ({region})")
    connection.execute(f"CREATE TEMP TABLE loaded (id int, embedding vector({dims}))")
    items.copy_vectors(connection, "loaded", rows)
    connection.execute(f"INSERT INTO items SELECT id, embedding, id % {REGIONS} FROM loaded")
    connection.execute("ANALYZE items")


def create_index(connection: psycopg.Connection, opclass: str) -> None:
    """Builds the index of the parent."""
    connection.execute(f"CREATE INDEX items_ivf ON items USING ivf (embedding {opclass}) WITH (lists = {LISTS})")


def search(connection: psycopg.Connection, distance: str, query: np.ndarray, exact: bool, where: str = "true") -> tuple:
    """(id, distance) of the nearest 20 rows, of all where `exact`, else of all lists of the indexes; and the plan."""
    sql = f"SELECT id, {distance} FROM items WHERE {where} ORDER BY {distance} LIMIT 20"
    arguments = {"q": vector_text(query)}
    with connection.transaction():
        connection.execute(f"SET LOCAL vectorgpu.probes = {LISTS}")
        connection.execute(f"SET LOCAL enable_indexscan = {'off' if exact else 'on'}")
        connection.execute(f"SET LOCAL enable_seqscan = {'on' if exact else 'off'}")
        plan = "\n".join(line for (line,) in connection.execute("EXPLAIN " + sql, arguments, prepare=False))
        return connection.execute(sql, arguments, prepare=False).fetchall(), plan


@pytest.mark.parametrize(("name", "operator", "opclass"), CASES)
def test_a_search_of_the_parent_merges_its_partitions_indexes_in_the_global_order(connection, name, operator, opclass):
    create_partitioned(connection, items.uniform(ROWS, DIMS), name)
    create_index(connection, opclass)
    children = [child for (child,) in connection.execute(CHILDREN)]
    assert len(children) == REGIONS
    assert [items.verify(connection, child) for child in children] == [ROWS // REGIONS] * REGIONS
    distance = f"embedding {operator} %(q)s::{name}"
    for query in items.uniform(5, DIMS, seed=3):
        merged, plan = search(connection, distance, query, exact=False)
        assert "Merge Append" in plan and "Sort" not in plan.replace("Sort Key", ""), plan
        assert all(f"Index Scan using {child}" in plan for child in children), plan
        truth, plan = search(connection, distance, query, exact=True)
        assert "Index Scan" not in plan, plan
        items.assert_same_answer(merged, truth)
        assert len({identifier % REGIONS for identifier, _ in merged}) > 1, "all rows came from one partition"


def test_the_planner_merges_the_indexes_of_its_own_accord(connection):
    create_partitioned(connection, items.uniform(30_000, DIMS))
    create_index(connection, "vector_l2_ops")
    sql = "EXPLAIN SELECT id FROM items ORDER BY embedding <-> %s::vector LIMIT 10"
    plan = "\n".join(line for (line,) in connection.execute(sql, (vector_text(items.uniform(1, DIMS)[0]),)))
    assert "Merge Append" in plan and plan.count("Index Scan using") == REGIONS, plan


def test_a_filter_on_the_key_leaves_the_other_partitions_out(connection):
    create_partitioned(connection, items.uniform(ROWS, DIMS))
    create_index(connection, "vector_l2_ops")
    distance = "embedding <-> %(q)s::vector"
    query = items.uniform(1, DIMS, seed=3)[0]
    found, plan = search(connection, distance, query, exact=False, where="region = 1")
    assert "items_1_embedding_idx" in plan and "items_0" not in plan and "items_2" not in plan, plan
    items.assert_same_answer(found, search(connection, distance, query, exact=True, where="region = 1")[0])
    found, plan = search(connection, distance, query, exact=False, where="region IN (0, 2)")
    assert "Merge Append" in plan and plan.count("Index Scan using") == 2, plan
    assert "items_1_embedding_idx" not in plan, plan
    items.assert_same_answer(found, search(connection, distance, query, exact=True, where="region IN (0, 2)")[0])


def test_a_generic_plan_prunes_partitions_when_it_runs(connection):
    create_partitioned(connection, items.uniform(ROWS, DIMS))
    create_index(connection, "vector_l2_ops")
    connection.execute("SET plan_cache_mode = force_generic_plan")
    connection.execute("SET enable_seqscan = off")
    connection.execute(f"SET vectorgpu.probes = {LISTS}")
    connection.execute(
        "PREPARE nearest(int, vector) AS SELECT id, embedding <-> $2 FROM items WHERE region = $1 "
        "ORDER BY embedding <-> $2 LIMIT 20"
    )
    query = items.uniform(1, DIMS, seed=3)[0]
    plan = "\n".join(line for (line,) in connection.execute(f"EXPLAIN EXECUTE nearest(2, '{vector_text(query)}')"))
    assert "Subplans Removed: 2" in plan and plan.count("Index Scan using") == 1, plan
    truth, _ = search(connection, "embedding <-> %(q)s::vector", query, exact=True, where="region = 2")
    items.assert_same_answer(connection.execute(f"EXECUTE nearest(2, '{vector_text(query)}')").fetchall(), truth)


def test_an_attached_partition_keeps_its_own_index_or_gets_one(connection):
    create_partitioned(connection, items.uniform(ROWS, DIMS))
    create_index(connection, "vector_l2_ops")
    # One with an index that fits, of other lists; one whose index is by another distance; one without.
    for region, opclass in ((3, "vector_l2_ops"), (4, "vector_ip_ops"), (5, None)):
        connection.execute(
            f"CREATE TABLE items_{region} AS "
            f"SELECT id + {10_000 * region} AS id, embedding, {region} AS region FROM items_0"
        )
        connection.execute(f"ALTER TABLE items_{region} ALTER embedding TYPE vector({DIMS})")
        if opclass:
            connection.execute(
                f"CREATE INDEX own_{region} ON items_{region} USING ivf (embedding {opclass}) WITH (lists = 7)"
            )
        connection.execute(f"ALTER TABLE items ATTACH PARTITION items_{region} FOR VALUES IN ({region})")
    children = [child for (child,) in connection.execute(CHILDREN)]
    assert [child for child in children if child[:8] not in ("items_0_", "items_1_", "items_2_")] == [
        "items_4_embedding_idx",
        "items_5_embedding_idx",
        "own_3",
    ]
    assert connection.execute("SELECT lists FROM vectorgpu.index_info('own_3')").fetchone() == (7,)
    distance = "embedding <-> %(q)s::vector"
    for query in items.uniform(3, DIMS, seed=3):
        found, plan = search(connection, distance, query, exact=False)
        assert plan.count("Index Scan using") == 6 and "own_3" in plan and "own_4" not in plan, plan
        items.assert_same_answer(found, search(connection, distance, query, exact=True)[0])
    connection.execute("ALTER TABLE items DETACH PARTITION items_3")
    assert items.verify(connection, "own_3") == ROWS // REGIONS


def test_an_index_of_the_parent_alone_is_valid_once_every_partition_has_its_own(connection):
    create_partitioned(connection, items.uniform(300, DIMS))
    connection.execute("CREATE INDEX items_ivf ON ONLY items USING ivf (embedding vector_l2_ops)")
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'items_ivf'::regclass"
    for region in range(REGIONS):
        assert connection.execute(valid).fetchone() == (False,)
        connection.execute(
            f"CREATE INDEX CONCURRENTLY own_{region} ON items_{region} USING ivf (embedding vector_l2_ops) "
            "WITH (lists = 3)"
        )
        connection.execute(f"ALTER INDEX items_ivf ATTACH PARTITION own_{region}")
    assert connection.execute(valid).fetchone() == (True,)
    assert connection.execute(CHILDREN).fetchall() == [("own_0",), ("own_1",), ("own_2",)]


def test_rows_that_change_their_partition_are_found_in_the_new_one(connection):
    create_partitioned(connection, items.uniform(ROWS, DIMS))
    create_index(connection, "vector_l2_ops")
    connection.execute("UPDATE items SET region = 1 WHERE region = 0 AND id % 2 = 0")
    (moved,) = connection.execute("SELECT count(*) FROM items_1").fetchone()
    assert moved > ROWS // REGIONS
    connection.execute("DELETE FROM items WHERE id % 5 = 0")
    connection.execute("VACUUM items")
    for region in range(REGIONS):
        (rows,) = connection.execute(f"SELECT count(*) FROM items_{region}").fetchone()
        assert items.verify(connection, f"items_{region}_embedding_idx") == rows
    distance = "embedding <-> %(q)s::vector"
    for query in items.uniform(3, DIMS, seed=3):
        found, _ = search(connection, distance, query, exact=False)
        items.assert_same_answer(found, search(connection, distance, query, exact=True)[0])
