"""The Python package pgvector with psycopg 3: parameters and results as text and as binary, COPY BINARY, indexes."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
import sample
from pgvector import Bit, HalfVector, SparseVector, Vector
from pgvector.psycopg import register_vector

# The class of each column, and the placeholder that sends it as text or as binary.
CLASSES = {"v": Vector, "h": HalfVector, "s": SparseVector}
PLACEHOLDERS = {False: "%t", True: "%b"}


@pytest.fixture(params=[False, True], ids=["text", "binary"])
def binary(request: pytest.FixtureRequest) -> bool:
    """Whether parameters and results are binary."""
    return request.param


@pytest.fixture
def client(database: str, binary: bool) -> Iterator[psycopg.Connection]:
    """A connection that knows the types, and the table with all rows, sent as `binary` says."""
    with psycopg.connect(database, autocommit=True) as connection:
        register_vector(connection)
        connection.execute(sample.TABLE)
        one = PLACEHOLDERS[binary]
        statement = f"INSERT INTO items VALUES (%s, {one}, {one}, {one}, {one})"
        for record in records():
            connection.execute(statement, record)
        yield connection


def records() -> list[tuple]:
    """The rows of the sample as values of the client's classes."""
    return [(key, *(make(row) for make in CLASSES.values()), Bit(sample.BITS[key])) for key, row in sample.ROWS.items()]


def read_back(connection: psycopg.Connection, binary: bool) -> dict[int, tuple]:
    """All rows by id, as values of the client's classes."""
    cursor = connection.cursor(binary=binary)
    found = cursor.execute("SELECT id, v, h, s, b FROM items ORDER BY id").fetchall()
    # The package has no loader for bit: psycopg gives text, or bytes.
    bits = {row[0]: Bit.from_binary(row[4]) if binary else Bit(row[4]) for row in found}
    return {row[0]: (*row[1:4], bits[row[0]]) for row in found}


def expected() -> dict[int, tuple]:
    """What `read_back` has to return."""
    return {record[0]: record[1:] for record in records()}


def test_rows_come_back_as_they_were_sent(client, binary):
    assert read_back(client, binary) == expected()
    assert read_back(client, not binary) == expected()


def test_copy_binary_writes_and_reads_every_type(client, binary):
    client.execute("TRUNCATE items")
    types = ["int4", "vector", "halfvec", "sparsevec", "bit"]
    copy_format = "BINARY" if binary else "TEXT"
    with client.cursor() as cursor, cursor.copy(f"COPY items FROM STDIN WITH (FORMAT {copy_format})") as copy:
        copy.set_types(types)
        for record in records():
            copy.write_row(record)
    assert read_back(client, binary) == expected()
    with (
        client.cursor() as cursor,
        cursor.copy(f"COPY (SELECT v, h, s FROM items) TO STDOUT (FORMAT {copy_format})") as copy,
    ):
        copy.set_types(types[1:4])
        assert sorted(copy.rows(), key=str) == sorted((record[1:4] for record in records()), key=str)


@pytest.mark.parametrize("column", CLASSES)
@pytest.mark.parametrize("operator", sample.OPERATORS)
def test_rows_are_ordered_by_each_operator(client, binary, column, operator):
    statement = f"SELECT id, {column} {operator} {PLACEHOLDERS[binary]} AS distance FROM items ORDER BY distance"
    cursor = client.cursor(binary=binary)
    sample.check_nearest(operator, cursor.execute(statement, [CLASSES[column](sample.QUERY)]).fetchall())


@pytest.mark.parametrize("operator", sample.BIT_OPERATORS)
def test_rows_are_ordered_by_each_operator_of_bits(client, binary, operator):
    # A percent sign of SQL is written twice in psycopg.
    escaped = operator.replace("%", "%%")
    statement = f"SELECT id, b {escaped} {PLACEHOLDERS[binary]} AS distance FROM items ORDER BY distance"
    sample.check_nearest(operator, client.execute(statement, [Bit(sample.BIT_QUERY)]).fetchall())


@pytest.mark.parametrize("operator", sample.OPERATOR_CLASSES)
def test_indexes_serve_a_clients_parameter(client, binary, operator):
    for statement in sample.index_statements():
        client.execute(statement)
    client.execute("SET enable_seqscan = off")
    one = PLACEHOLDERS[binary]
    statement = f"SELECT id, v {operator} {one} FROM items ORDER BY v {operator} {one} LIMIT 4"
    query = Vector(sample.QUERY)
    sample.check_nearest(operator, client.execute(statement, [query, query]).fetchall())
    assert client.execute("SELECT index::text FROM vectorgpu.last_scan()").fetchone()[0] == sample.index_name(operator)


@pytest.mark.parametrize(
    ("column", "operator"),
    [
        *((column, operator) for column in ("h", "s") for operator in sample.OPERATOR_CLASSES),
        *((sample.BIT_COLUMN, operator) for operator in sample.BIT_OPERATORS),
    ],
)
def test_indexes_on_other_types_serve_a_clients_parameter(client, binary, column, operator):
    operator_class = sample.class_of_column(column, operator)
    client.execute(f"CREATE INDEX items_other ON items USING ivf ({column} {operator_class}) WITH (lists = 1)")
    client.execute("SET enable_seqscan = off")
    one, escaped = PLACEHOLDERS[binary], operator.replace("%", "%%")
    statement = f"SELECT id, {column} {escaped} {one} FROM items ORDER BY {column} {escaped} {one} LIMIT 4"
    query = Bit(sample.BIT_QUERY) if column == sample.BIT_COLUMN else CLASSES[column](sample.QUERY)
    sample.check_nearest(operator, client.execute(statement, [query, query]).fetchall())
    assert client.execute("SELECT index::text FROM vectorgpu.last_scan()").fetchone()[0] == "items_other"


def test_aggregates_return_the_clients_classes(client, binary):
    cursor = client.cursor(binary=binary)
    found = cursor.execute("SELECT avg(v), sum(v), avg(h), sum(h) FROM items").fetchone()
    total = [sum(column) for column in zip(*sample.ROWS.values(), strict=True)]
    mean = [x / len(sample.ROWS) for x in total]
    assert found == (Vector(mean), Vector(total), HalfVector(mean), HalfVector(total))
