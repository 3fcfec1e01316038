"""Loads vectors through COPY BINARY, indexes them, and compares the index with exact search.

Run it with: python search.py 'dbname=a_database'      (packages: psycopg, numpy)
"""

from __future__ import annotations

import struct
import sys

import numpy as np
import psycopg

ROWS, DIMS, QUERIES, LIMIT = 10_000, 64, 50, 10


def main(dsn: str) -> None:
    random = np.random.default_rng(7)
    centres = random.standard_normal((50, DIMS))
    rows = (centres[random.integers(0, 50, ROWS)] + random.standard_normal((ROWS, DIMS))).astype(np.float32)
    queries = (centres[random.integers(0, 50, QUERIES)] + random.standard_normal((QUERIES, DIMS))).astype(np.float32)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vectorgpu")
        connection.execute("DROP TABLE IF EXISTS example_rows")
        connection.execute(f"CREATE TABLE example_rows (id int PRIMARY KEY, embedding vector({DIMS}))")
        load(connection, rows)
        connection.execute(
            "CREATE INDEX example_rows_ivf ON example_rows USING ivf (embedding vector_cosine_ops) WITH (lists = 100)"
        )
        connection.execute("ANALYZE example_rows")
        for probes in (1, 5, 20):
            connection.execute("SELECT set_config('vectorgpu.probes', %s, false)", (str(probes),))
            found = sum(len(ask(connection, query) & exactly(rows, query)) for query in queries)
            print(f"{probes:3} lists of 100: recall@{LIMIT} {found / (QUERIES * LIMIT):.3f}")
        connection.execute("DROP TABLE example_rows")


def load(connection: psycopg.Connection, rows: np.ndarray) -> None:
    """Copies the rows in binary: two fields, an int4 and a vector (dims, 0, elements, all in network order)."""
    with connection.cursor().copy("COPY example_rows FROM STDIN WITH (FORMAT binary)") as copy:
        copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
        for number, row in enumerate(rows):
            vector = struct.pack("!hh", DIMS, 0) + row.astype(">f4").tobytes()
            copy.write(struct.pack("!hiii", 2, 4, number, len(vector)) + vector)
        copy.write(struct.pack("!h", -1))


def ask(connection: psycopg.Connection, query: np.ndarray) -> set[int]:
    """The ids of the nearest rows, through the index."""
    text = "[" + ",".join(map(str, query.tolist())) + "]"
    rows = connection.execute(f"SELECT id FROM example_rows ORDER BY embedding <=> %s::vector LIMIT {LIMIT}", (text,))
    return {identifier for (identifier,) in rows}


def exactly(rows: np.ndarray, query: np.ndarray) -> set[int]:
    """The same, computed here."""
    cosine = rows @ query / np.linalg.norm(rows, axis=1)
    return set(np.argsort(-cosine)[:LIMIT].tolist())


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
