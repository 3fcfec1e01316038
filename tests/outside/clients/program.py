"""Runs a client that is a program of its own, on a table that it makes, and returns what it prints."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import sample
from psycopg.conninfo import conninfo_to_dict

ROOT = Path(__file__).resolve().parents[3]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").absolute()
# Where setup.sh installs what such clients need.
INSTALLED = TARGET / "clients"
TIMEOUT_S = 120


def report(command: list[str], dsn: str, **more: str) -> dict:
    """Runs `command` with the sample as its last argument; fails with what it printed unless it succeeds."""
    parts = conninfo_to_dict(dsn)
    argument = json.dumps(
        {
            "dsn": dsn,
            "host": parts["host"],
            "port": int(parts["port"]),
            "user": parts["user"],
            "database": parts["dbname"],
            "sample": sample.for_program(),
            "table": sample.TABLE,
            "operators": sample.OPERATORS,
            "bit_operators": sample.BIT_OPERATORS,
            "statements": sample.index_statements(),
            "indexed_operators": list(sample.OPERATOR_CLASSES),
        }
        | more
    )
    done = subprocess.run([*command, argument], capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, f"{command[0]}: {done.stderr or done.stdout}"
    return json.loads(done.stdout)
