"""What figures were measured on and with: machine, server settings, command line, revision and libraries.

Must not know methods or results. Nothing here may name a path of the machine or a password: the lines are published.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import subprocess
import time
from pathlib import Path

import psycopg

ROOT = Path(__file__).resolve().parent.parent
# What the library is built from: a change elsewhere leaves the measured build as it is.
SOURCES = ["Cargo.toml", "Cargo.lock", "engine", "shaders", "sql", "src", "vectorgpu.control"]
SETTINGS = ["server_version", "shared_buffers", "max_parallel_workers", "max_wal_size", "fsync"]
# Places and accounts of this machine, of no use on another.
UNPUBLISHED = ["--dsn", "--out", "--target"]


def machine(dsn: str) -> dict:
    """What the figures were measured on."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        settings = {name: connection.execute(f"SHOW {name}").fetchone()[0] for name in SETTINGS}
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": models[0].split(":")[1].strip() if models else platform.processor(),
        "cores": os.cpu_count(),
        "memory_bytes": memory_bytes(),
        "kernel": platform.release(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **settings,
    }


def memory_bytes() -> int:
    """The machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def command(arguments: list[str]) -> str:
    """The command that repeats a run, from the arguments of bench.py, without what is only of this machine."""
    kept, skip = [], False
    for argument in arguments:
        name, has_value, _ = argument.partition("=")
        if not skip and name not in UNPUBLISHED:
            kept.append(argument)
        skip = not skip and name in UNPUBLISHED and not has_value
    return f"scripts/bench.sh {shlex.join(kept)}".strip()


def revision() -> dict:
    """The checked-out commit, and whether the sources of the library differ from it; empty without git."""
    head = git("rev-parse", "--short=12", "HEAD")
    if head is None:
        return {}
    return {"revision": head, "sources_changed": bool(git("status", "--porcelain", "--", *SOURCES))}


def is_older_than_sources(library: Path) -> bool:
    """Tells whether a library was written before the last commit to its sources: it is then not of this revision."""
    committed = git("log", "-1", "--format=%ct", "--", *SOURCES)
    return bool(committed) and library.exists() and library.stat().st_mtime < int(committed)


def git(*arguments: str) -> str | None:
    """What git says about this repository; None where there is no git, or no repository."""
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def library_path(extension: str, pg_config: str) -> Path:
    """Where the library of an extension is installed; extensions name theirs after themselves."""
    done = subprocess.run([pg_config, "--pkglibdir"], capture_output=True, text=True, check=True)
    return Path(done.stdout.strip()) / f"{extension}.so"


def fingerprint(library: Path) -> str | None:
    """The first digits of a library's SHA-256, which tell builds of one version apart."""
    return hashlib.sha256(library.read_bytes()).hexdigest()[:12] if library.exists() else None
