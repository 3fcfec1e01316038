"""Acting on a statement while it runs: in a thread of its own, watched through the server's views."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import psycopg

WAIT_S = 60


class Statement(threading.Thread):
    """Runs one statement on a connection of its own; `error` is what it raised, or None."""

    def __init__(self, dsn: str, sql: str, settings: dict[str, str] | None = None):
        """Connects at once, so that `pid` is known; `start` sends the statement."""
        super().__init__(daemon=True)
        self.connection = psycopg.connect(dsn, autocommit=True)
        for name, value in (settings or {}).items():
            self.connection.execute("SELECT set_config(%s, %s, false)", (name, value))
        self.pid = self.connection.info.backend_pid
        self.sql = sql
        self.error: psycopg.Error | None = None
        self.ended_at = 0.0

    def run(self) -> None:
        """Executes the statement and keeps what it raises."""
        try:
            self.connection.execute(self.sql)
        except psycopg.Error as error:
            self.error = error
        finally:
            self.ended_at = time.monotonic()

    def finish(self) -> psycopg.Error | None:
        """Waits for the end and closes the connection; returns the error, if any."""
        self.join(timeout=WAIT_S)
        assert not self.is_alive(), f"still running after {WAIT_S} s: {self.sql}"
        self.connection.close()
        return self.error


def wait_until(condition: Callable[[], bool], what: str, every_s: float = 0.002) -> None:
    """Waits for `condition`; fails after a minute, naming `what` did not happen."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"did not happen: {what}"
        time.sleep(every_s)


def wait_for_build(watcher: psycopg.Connection, statement: Statement, phase: str) -> None:
    """Waits until the index build of `statement` is in a phase whose name contains `phase`."""
    query = "SELECT phase FROM pg_stat_progress_create_index WHERE pid = %s"

    def reached() -> bool:
        assert statement.is_alive(), f"the build ended before '{phase}' was seen: {statement.error}"
        row = watcher.execute(query, (statement.pid,)).fetchone()
        return row is not None and phase in row[0]

    wait_until(reached, f"a build in phase '{phase}'")


def workers(watcher: psycopg.Connection) -> int:
    """Parallel workers that run in the cluster."""
    return watcher.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'parallel worker' AND pid <> pg_backend_pid()"
    ).fetchone()[0]


def wait_for_no_workers(watcher: psycopg.Connection) -> None:
    """Waits until no parallel worker runs in the cluster."""
    wait_until(lambda: workers(watcher) == 0, "the end of all workers")
