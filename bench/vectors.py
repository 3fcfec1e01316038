"""Vectors on their way into a server: the text form of one, and a binary COPY of many.

Must not know data sets or measurements. The wire format is that of pgvector's `vector`, which VectorChord and
vectorgpu share: int16 dimensions, int16 zero, then float4 values, all in network order.
"""

from __future__ import annotations

import numpy as np
import psycopg

# Rows sent in one write: some megabytes, so that neither memory nor system calls count.
ROWS_PER_WRITE = 2048


def vector_text(values: np.ndarray) -> str:
    """Writes one vector as SQL text with the shortest digits that read back to the same float4."""
    return "[" + ",".join(np.format_float_positional(x, trim="-") for x in values.astype(np.float32)) + "]"


def copy_vectors(connection: psycopg.Connection, table: str, rows: np.ndarray, first_id: int = 0) -> None:
    """Loads `rows` ([n, d] f32) into `table` (id int, <vector column>) by binary COPY; ids count up from `first_id`."""
    dims = rows.shape[1]
    record = np.dtype(
        [
            ("fields", ">i2"),
            ("id_bytes", ">i4"),
            ("id", ">i4"),
            ("vector_bytes", ">i4"),
            ("dims", ">i2"),
            ("unused", ">i2"),
            ("values", ">f4", (dims,)),
        ]
    )
    with connection.cursor().copy(f"COPY {table} FROM STDIN (FORMAT binary)") as copy:
        copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
        for start in range(0, len(rows), ROWS_PER_WRITE):
            part = rows[start : start + ROWS_PER_WRITE]
            records = np.empty(len(part), record)
            records["fields"], records["id_bytes"], records["unused"] = 2, 4, 0
            records["id"] = np.arange(first_id + start, first_id + start + len(part))
            records["vector_bytes"], records["dims"], records["values"] = 4 + 4 * dims, dims, part
            copy.write(records.tobytes())
        copy.write(b"\xff\xff")
