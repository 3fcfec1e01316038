"""The crate pgvector with the crate postgres, which sends and receives binary: parameters, and COPY BINARY."""

from __future__ import annotations

import subprocess
from pathlib import Path

import program
import pytest
import sample

MANIFEST = Path(__file__).resolve().parent / "rust" / "Cargo.toml"


@pytest.fixture(scope="module")
def command() -> list[str]:
    """The client program, built from what setup.sh has fetched; up to date, that takes no time."""
    target = program.INSTALLED / "rust"
    build = ["cargo", "build", "--locked", "--offline", "--quiet", "--manifest-path", MANIFEST, "--target-dir", target]
    done = subprocess.run(build, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.fail(f"the client does not build; is it installed ('make setup')?\n{done.stderr}", pytrace=False)
    return [str(target / "debug" / "vectorgpu-client-test")]


@pytest.mark.parametrize("how", ["insert", "copy"])
def test_rows_are_written_read_and_found(database, command, how):
    sample.check_report(program.report(command, database, how=how))
