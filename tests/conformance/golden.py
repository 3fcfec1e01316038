"""Golden files: what COPY writes for a column of each type, as text and as binary.

`record.py` has a server with pgvector write them from `golden/TYPE.sql`; the test has vectorgpu read them and write
them again. They hold no OIDs, so two servers write the same bytes.
"""

from __future__ import annotations

from pathlib import Path

from psycopg import Connection

FOLDER = Path(__file__).resolve().parent / "golden"
TYPES = sorted(path.stem for path in FOLDER.glob("*.sql"))
FORMATS = ("text", "binary")


def path(type_name: str, copy_format: str) -> Path:
    """The golden file of a type in one of FORMATS."""
    return FOLDER / f"{type_name}.{copy_format}"


def create_table(connection: Connection, type_name: str) -> None:
    """Makes the empty table that the files of a type hold."""
    connection.execute(f"CREATE TEMP TABLE golden_{type_name} (id int, value {type_name})")


def copy_out(connection: Connection, type_name: str, copy_format: str) -> bytes:
    """What COPY writes for the table of a type."""
    statement = f"COPY golden_{type_name} TO STDOUT WITH (FORMAT {copy_format})"
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        return b"".join(bytes(chunk) for chunk in copy)


def copy_in(connection: Connection, type_name: str, copy_format: str, content: bytes) -> None:
    """Has COPY read `content` into the table of a type."""
    statement = f"COPY golden_{type_name} FROM STDIN WITH (FORMAT {copy_format})"
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(content)


def write(connection: Connection) -> None:
    """Writes all golden files from what this server stores for the rows of `golden/*.sql`."""
    for type_name in TYPES:
        create_table(connection, type_name)
        connection.execute((FOLDER / f"{type_name}.sql").read_text())
        for copy_format in FORMATS:
            path(type_name, copy_format).write_bytes(copy_out(connection, type_name, copy_format))
