"""PostgreSQL's client programs."""

from __future__ import annotations

import subprocess
from pathlib import Path


def run_program(bindir: Path, name: str, *arguments: str) -> None:
    """Runs a client program and shows what it says when it fails."""
    done = subprocess.run([str(bindir / name), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, f"{name}: {done.stderr}"
