"""The documents say what is there, and their examples run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import reference

DOCS = Path(__file__).resolve().parents[2] / "docs"
DBLINK = "SELECT FROM pg_available_extensions WHERE name = 'dblink'"


def test_the_reference_holds_what_the_catalogs_hold(connection, database):
    written = reference.REFERENCE.read_text(encoding="utf-8")
    assert reference.reference(database) == written, "run scripts/reference.py"
    nameless = [line for line in written.splitlines() if re.fullmatch(r"\|.*\|\s*\|", line)]
    assert not nameless, "an object without a COMMENT"


def test_every_object_is_in_the_reference(connection):
    written = reference.REFERENCE.read_text(encoding="utf-8")
    routines = connection.execute(
        "SELECT DISTINCT proname FROM pg_proc JOIN pg_depend ON objid = pg_proc.oid AND classid = 'pg_proc'::regclass "
        "WHERE refobjid = (SELECT oid FROM pg_extension WHERE extname = 'vectorgpu') AND deptype = 'e'"
    )
    missing = [name for (name,) in routines if f"`{name}(" not in written]
    assert not missing


@pytest.mark.parametrize(
    ("example", "shows"),
    [("search", "nearest to the first row"), ("shards", "nearest to two vectors, from all shards")],
)
def test_the_examples_in_sql_run(connection, database, bindir, example, shows):
    if example == "shards" and not connection.execute(DBLINK).fetchall():
        pytest.skip("NO TEST OF SHARDS HAS RUN: dblink is not installed")
    connection.execute("DROP EXTENSION vectorgpu CASCADE")
    done = subprocess.run(
        [
            str(bindir / "psql"),
            "-X",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            database,
            "-f",
            str(DOCS / "examples" / f"{example}.sql"),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert shows in done.stdout


def test_the_example_in_python_runs(connection: psycopg.Connection, database: str):
    done = subprocess.run(
        [sys.executable, str(DOCS / "examples" / "search.py"), database],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": ""},
    )
    assert done.returncode == 0, done.stderr
    assert "recall@10" in done.stdout
