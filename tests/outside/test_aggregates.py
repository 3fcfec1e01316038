"""sum and avg of vectors in parallel workers: partial states add up to what one process computes."""

from __future__ import annotations

import items
import numpy as np
import psycopg
import pytest
from vectors import vector_text

ROWS, DIMS = 6_000, 12


@pytest.fixture
def table(connection: psycopg.Connection) -> np.ndarray:
    """Small whole numbers, whose sums are exact in every order and, in parts of 2,000 rows, in half precision."""
    values = (items.uniform(ROWS, DIMS) < 0.3).astype(np.float32)
    items.create_items(connection, values)
    connection.execute(
        f"CREATE TABLE things AS SELECT id, id % 3 AS part, embedding AS e, embedding::halfvec({DIMS}) AS h FROM items"
    )
    connection.execute("INSERT INTO things VALUES (-1, 0, NULL, NULL), (-2, 7, NULL, NULL)")
    connection.execute("ANALYZE things")
    return values


def parallel(connection: psycopg.Connection, sql: str) -> list[tuple]:
    """What a query returns with two workers, which it needs."""
    with connection.transaction():
        connection.execute("SET LOCAL max_parallel_workers_per_gather = 2")
        for free in ("parallel_setup_cost", "parallel_tuple_cost", "min_parallel_table_scan_size"):
            connection.execute(f"SET LOCAL {free} = 0")
        # The leader takes nothing, so that every state passes between processes.
        connection.execute("SET LOCAL parallel_leader_participation = off")
        plan = "\n".join(row[0] for row in connection.execute("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) " + sql))
        assert "Partial" in plan and "Finalize" in plan and "Workers Launched: 2" in plan, plan
        return connection.execute(sql).fetchall()


def serial(connection: psycopg.Connection, sql: str) -> list[tuple]:
    """What a query returns in one process."""
    with connection.transaction():
        connection.execute("SET LOCAL max_parallel_workers_per_gather = 0")
        plan = "\n".join(row[0] for row in connection.execute("EXPLAIN " + sql))
        assert "Partial" not in plan, plan
        return connection.execute(sql).fetchall()


@pytest.mark.parametrize("column", ["e", "h"])
def test_parallel_workers_add_up_to_what_one_process_computes(connection, table, column):
    sql = f"SELECT sum({column}), avg({column}), count({column}) FROM things WHERE part > 0"
    chosen = table[np.arange(ROWS) % 3 > 0]
    # 4,000 rows of 0.3: no sum is above 2,048, up to which half precision holds every whole number.
    mean = (chosen.sum(axis=0, dtype=np.float64) / len(chosen)).astype(np.float32 if column == "e" else np.float16)
    total, average, count = serial(connection, sql)[0]
    assert (total, count) == (vector_text(chosen.sum(axis=0)), len(chosen))
    assert np.array_equal(np.array(average.strip("[]").split(","), np.float64).astype(mean.dtype), mean)
    assert parallel(connection, sql) == [(total, average, count)]


@pytest.mark.parametrize("column", ["e", "h"])
def test_groups_and_groups_without_vectors_are_the_same_in_parallel(connection, table, column):
    sql = f"SELECT part, sum({column}), avg({column}), count(*) FROM things GROUP BY part ORDER BY part"
    expected = serial(connection, sql)
    assert [row[0] for row in expected] == [0, 1, 2, 7]
    assert expected[3] == (7, None, None, 1), "a group of NULLs has neither sum nor average"
    for part in range(3):
        assert expected[part][1] == vector_text(table[np.arange(ROWS) % 3 == part].sum(axis=0))
    assert parallel(connection, sql) == expected
    nothing = f"SELECT sum({column}), avg({column}) FROM things WHERE id % 2 = 5"
    assert parallel(connection, nothing) == serial(connection, nothing) == [(None, None)]


@pytest.mark.parametrize("column", ["e", "h"])
@pytest.mark.parametrize("aggregate", ["sum", "avg"])
def test_vectors_of_different_dimensions_are_refused_in_parallel_too(connection, table, column, aggregate):
    name = "vector" if column == "e" else "halfvec"
    connection.execute("ALTER TABLE things ALTER e TYPE vector, ALTER h TYPE halfvec")
    connection.execute(f"UPDATE things SET {column} = '[1,2]'::{name} WHERE id = 4321")
    for run in (serial, parallel):
        with pytest.raises(psycopg.errors.DataException, match="dimensions"):
            run(connection, f"SELECT {aggregate}({column}) FROM things")


def test_partial_sums_that_leave_the_range_are_refused(connection, table):
    connection.execute("UPDATE things SET e = array_fill(3e38::real, ARRAY[12])::vector WHERE id IN (1, 5999)")
    for run in (serial, parallel):
        with pytest.raises(psycopg.errors.NumericValueOutOfRange):
            run(connection, "SELECT sum(e) FROM things")
        # An average is summed in double precision.
        (row,) = run(connection, "SELECT avg(e) IS NOT NULL FROM things")
        assert row == (True,)


def test_moving_and_distinct_aggregates_work(connection, table):
    rows = connection.execute(
        "SELECT id, sum(e) OVER (ORDER BY id ROWS 2 PRECEDING) FROM things WHERE id BETWEEN 0 AND 9 ORDER BY id"
    ).fetchall()
    for identifier, total in rows:
        assert total == vector_text(table[max(0, identifier - 2) : identifier + 1].sum(axis=0))
    (few,) = connection.execute("SELECT sum(DISTINCT e) FROM things WHERE id >= 0").fetchone()
    assert few == vector_text(np.unique(table, axis=0).sum(axis=0))
    filtered = "SELECT sum(e) FILTER (WHERE id % 2 = 0) FROM things WHERE id >= 0"
    assert connection.execute(filtered).fetchone() == (vector_text(table[::2].sum(axis=0)),)
    rollup = "SELECT part, count(*), sum(e) FROM things WHERE id >= 0 GROUP BY ROLLUP (part) ORDER BY part NULLS LAST"
    assert connection.execute(rollup).fetchall()[-1] == (None, ROWS, vector_text(table.sum(axis=0)))
