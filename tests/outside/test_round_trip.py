"""100,000 random values of each vector type come back bit for bit: through binary COPY, text, and dump and restore.

What goes in is made here, byte by byte as the binary format has it, from random bit patterns of all finite numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psycopg
import pytest
from programs import run_program

ROWS = 100_000
SEED = 20_261_128
COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_END = b"\xff\xff"
DIMS = 12
MOST_ELEMENTS = 12
SPARSE_DIMS = 1_000_000_000


@dataclass(frozen=True)
class Column:
    """A type with its modifier, and what makes the binary forms of its random values."""

    declaration: str
    values: Callable[[np.random.Generator], list[bytes]]


def finite(numbers: np.ndarray, replacement: float) -> np.ndarray:
    """The numbers, with NaN and infinities replaced."""
    return np.where(np.isfinite(numbers), numbers, numbers.dtype.type(replacement))


def random_floats(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Finite f32 of all magnitudes."""
    return finite(random.integers(0, 2**32, shape, dtype=np.uint32).view(np.float32), -0.0)


def random_halves(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Finite f16 of all magnitudes."""
    return finite(random.integers(0, 2**16, shape, dtype=np.uint16).view(np.float16), -0.0)


def dense(elements: np.ndarray) -> list[bytes]:
    """Binary forms of dense vectors, [rows, dims]: dimensions, zero, elements in network order."""
    header = np.array([elements.shape[1], 0], ">i2").tobytes()
    network = elements.astype(elements.dtype.newbyteorder(">"))
    return [header + row.tobytes() for row in network]


def sparse(random: np.random.Generator) -> list[bytes]:
    """Binary forms of sparse vectors with 0 to MOST_ELEMENTS elements: three header fields, indices, values."""
    counts = random.integers(0, MOST_ELEMENTS + 1, ROWS)
    steps = random.integers(1, SPARSE_DIMS // MOST_ELEMENTS, (ROWS, MOST_ELEMENTS))
    indices = (np.cumsum(steps, axis=1) - 1).astype(">i4")
    values = random_floats(random, (ROWS, MOST_ELEMENTS))
    values = np.where(values == 0, np.float32(1e-45), values).astype(">f4")
    return [
        np.array([SPARSE_DIMS, count, 0], ">i4").tobytes()
        + indices[row, :count].tobytes()
        + values[row, :count].tobytes()
        for row, count in enumerate(counts)
    ]


COLUMNS = {
    "vector": Column(f"vector({DIMS})", lambda random: dense(random_floats(random, (ROWS, DIMS)))),
    "halfvec": Column(f"halfvec({DIMS})", lambda random: dense(random_halves(random, (ROWS, DIMS)))),
    "sparsevec": Column(f"sparsevec({SPARSE_DIMS})", sparse),
}


def binary_copy(values: list[bytes]) -> bytes:
    """The binary COPY of rows (id, value), ids from 0."""
    rows = (
        b"\0\2\0\0\0\4" + number.to_bytes(4, "big") + len(value).to_bytes(4, "big") + value
        for number, value in enumerate(values)
    )
    return COPY_HEADER + b"".join(rows) + COPY_END


def copy_in(connection: psycopg.Connection, statement: str, data: bytes) -> None:
    """Sends `data` to a COPY FROM STDIN."""
    with connection.cursor().copy(statement) as copy:
        copy.write(data)


def copy_out(connection: psycopg.Connection, table: str, options: str) -> bytes:
    """The rows of a table, in the order of their ids, from a COPY TO STDOUT."""
    statement = f"COPY (SELECT * FROM {table} ORDER BY id) TO STDOUT {options}"
    with connection.cursor().copy(statement) as copy:
        return b"".join(bytes(part) for part in copy)


@pytest.mark.parametrize("name", COLUMNS)
def test_random_values_come_back_bit_for_bit(connection, shared_cluster, bindir: Path, tmp_path: Path, name):
    column = COLUMNS[name]
    given = binary_copy(column.values(np.random.default_rng(SEED)))
    connection.execute(f"CREATE TABLE given (id int, value {column.declaration})")
    copy_in(connection, "COPY given FROM STDIN (FORMAT binary)", given)
    assert copy_out(connection, "given", "(FORMAT binary)") == given

    text = copy_out(connection, "given", "")
    connection.execute("CREATE TABLE from_text (LIKE given)")
    copy_in(connection, "COPY from_text FROM STDIN", text)
    assert copy_out(connection, "from_text", "(FORMAT binary)") == given
    connection.execute("DROP TABLE from_text")

    dump = tmp_path / "dump"
    run_program(bindir, "pg_dump", "-d", shared_cluster.dsn("test"), "--format=custom", f"--file={dump}")
    connection.execute("DROP DATABASE IF EXISTS restored WITH (FORCE)")
    connection.execute("CREATE DATABASE restored")
    try:
        run_program(bindir, "pg_restore", "-d", shared_cluster.dsn("restored"), "--exit-on-error", str(dump))
        with psycopg.connect(shared_cluster.dsn("restored"), autocommit=True) as restored:
            assert copy_out(restored, "given", "(FORMAT binary)") == given
            declared = restored.execute(
                "SELECT format_type(atttypid, atttypmod) FROM pg_attribute "
                "WHERE attrelid = 'given'::regclass AND attnum = 2"
            )
            assert declared.fetchone() == (column.declaration,)
    finally:
        connection.execute("DROP DATABASE restored WITH (FORCE)")


def test_text_is_that_of_the_server_for_a_real(connection):
    """The text of an element is that of the type real, which PostgreSQL itself prints and reads."""
    random = np.random.default_rng(SEED)
    for name in ("vector", "halfvec"):
        connection.execute(f"CREATE TABLE {name}_given (id int, value {COLUMNS[name].declaration})")
        copy_in(connection, f"COPY {name}_given FROM STDIN (FORMAT binary)", binary_copy(COLUMNS[name].values(random)))
        differing = connection.execute(
            f"SELECT count(*) FROM {name}_given WHERE value::text <> translate(value::real[]::text, '{{}}', '[]')"
        )
        assert differing.fetchone() == (0,)
