"""The Python package pgvector with asyncpg, which sends and receives nothing but binary."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import pytest
import sample
from pgvector import HalfVector, SparseVector, Vector
from pgvector.asyncpg import register_vector
from psycopg.conninfo import conninfo_to_dict

CLASSES = {"v": Vector, "h": HalfVector, "s": SparseVector}
Use = Callable[[asyncpg.Connection], Awaitable[None]]


@pytest.fixture
def with_items(database: str) -> Callable[[Use], None]:
    """Runs a coroutine with a connection that knows the types, and the table with all rows, sent by binary COPY."""

    async def run(use: Use) -> None:
        parts = conninfo_to_dict(database)
        connection = await asyncpg.connect(
            host=parts["host"], port=int(parts["port"]), user=parts["user"], database=parts["dbname"]
        )
        try:
            await register_vector(connection)
            await connection.execute(sample.TABLE)
            await connection.copy_records_to_table("items", records=records())
            await use(connection)
        finally:
            await connection.close()

    return lambda use: asyncio.run(run(use))


def records() -> list[tuple]:
    """The rows of the sample as values of the client's classes."""
    return [
        (key, *(make(row) for make in CLASSES.values()), asyncpg.BitString(sample.BITS[key]))
        for key, row in sample.ROWS.items()
    ]


def test_rows_of_a_binary_copy_come_back(with_items):
    async def use(connection: asyncpg.Connection) -> None:
        found = await connection.fetch("SELECT * FROM items ORDER BY id")
        assert [tuple(row) for row in found] == records()

    with_items(use)


def test_parameters_are_inserted(with_items):
    async def use(connection: asyncpg.Connection) -> None:
        await connection.execute("TRUNCATE items")
        await connection.executemany("INSERT INTO items VALUES ($1, $2, $3, $4, $5)", records())
        found = await connection.fetch("SELECT * FROM items ORDER BY id")
        assert [tuple(row) for row in found] == records()

    with_items(use)


def test_rows_are_ordered_by_each_operator(with_items):
    async def use(connection: asyncpg.Connection) -> None:
        for column, make in CLASSES.items():
            for operator in sample.OPERATORS:
                statement = f"SELECT id, {column} {operator} $1 FROM items ORDER BY {column} {operator} $1"
                sample.check_nearest(operator, await connection.fetch(statement, make(sample.QUERY)))
        for operator in sample.BIT_OPERATORS:
            statement = f"SELECT id, b {operator} $1 FROM items ORDER BY b {operator} $1"
            query = asyncpg.BitString(sample.BIT_QUERY)
            sample.check_nearest(operator, await connection.fetch(statement, query))

    with_items(use)


def test_indexes_serve_a_clients_parameter(with_items):
    async def use(connection: asyncpg.Connection) -> None:
        for statement in sample.index_statements():
            await connection.execute(statement)
        await connection.execute("SET enable_seqscan = off")
        for operator in sample.OPERATOR_CLASSES:
            statement = f"SELECT id, v {operator} $1 FROM items ORDER BY v {operator} $1 LIMIT 4"
            sample.check_nearest(operator, await connection.fetch(statement, Vector(sample.QUERY)))
            used = await connection.fetchval("SELECT index::text FROM vectorgpu.last_scan()")
            assert used == sample.index_name(operator)

    with_items(use)
