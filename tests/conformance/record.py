"""Records what a server with pgvector answers: `record.py DSN EXTENSION`.

Writes `expected/` and `golden/` anew, in a database of its own that it drops again. README.md says when.
"""

from __future__ import annotations

import sys

import conformance
import golden
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

DATABASE = "conformance_recorder"


def record(dsn: str) -> int:
    """Records all topics and golden files; returns the number of cases."""
    count = 0
    conformance.EXPECTED.mkdir(exist_ok=True)
    for stale in conformance.EXPECTED.glob("*.txt"):
        stale.unlink()
    for topic in conformance.topics():
        cases = conformance.read_cases(topic)
        with psycopg.connect(dsn, autocommit=True) as connection:
            session = conformance.Session(connection)
            conformance.write_expected(topic, [(case, session.answer(case)) for case in cases])
        count += len(cases)
    with psycopg.connect(dsn, autocommit=True) as connection:
        golden.write(connection)
    return count


def main() -> int:
    """Makes the database, records, drops the database."""
    if len(sys.argv) != 3:
        print("usage: record.py DSN EXTENSION", file=sys.stderr)
        return 2
    dsn, extension = sys.argv[1:]
    name = sql.Identifier(DATABASE)
    with psycopg.connect(dsn, autocommit=True) as server:
        server.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(name))
        server.execute(sql.SQL("CREATE DATABASE {}").format(name))
        own = make_conninfo(dsn, dbname=DATABASE)
        try:
            with psycopg.connect(own, autocommit=True) as connection:
                connection.execute(sql.SQL("CREATE EXTENSION {}").format(sql.Identifier(extension)))
                query = "SELECT extversion FROM pg_extension WHERE extname = %s"
                version = connection.execute(query, [extension]).fetchone()[0]
            count = record(own)
        finally:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
    print(f"{count} cases recorded from {extension} {version}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
