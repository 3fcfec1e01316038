"""A damaged index file gives an error with the right SQLSTATE, or an answer, and never takes a backend down."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import items
import numpy as np
import psycopg
import pytest
from cluster import Cluster

PAGE = 8192
PAGE_HEADER = 24
LISTS = 10

# XX001: PostgreSQL found the damage (page header, a row that is not there); XX002: the access method did. A flipped bit
# in a stored vector or in its error bound cannot be seen on the page; PostgreSQL sees that the order is wrong.
WRONG_ORDER = "index returned tuples in wrong order"
# A row pointer far beyond the table's end: PostgreSQL says XX000 and this.
NO_SUCH_BLOCK = "previous segment is only"
DAMAGE = {"XX001", "XX002", WRONG_ORDER, NO_SUCH_BLOCK}
STATEMENTS = (
    "SELECT id FROM items ORDER BY embedding <-> '{q}' LIMIT 10",
    "SELECT count(*) FROM (SELECT id FROM items ORDER BY embedding <-> '{q}') AS everything",
    "INSERT INTO items VALUES (1000000, '{q}')",
    "VACUUM items",
    "SELECT * FROM vectorgpu.index_info('items_ivf')",
    "SELECT vectorgpu.verify('items_ivf')",
)


class Damaged:
    """A cluster with an index whose file can be changed behind the server's back."""

    def __init__(self, cluster: Cluster, storage: str):
        """Loads rows, builds the index, deletes some rows, and keeps the sound file."""
        self.cluster = cluster
        with self.connect() as connection:
            connection.execute("CREATE EXTENSION vectorgpu")
            items.create_items(connection, items.uniform(1_500, 32))
            items.create_index(connection, LISTS, storage=storage)
            # Insertion and VACUUM leave page states that a build does not.
            connection.execute("DELETE FROM items WHERE mod(id, 3) = 0")
            connection.execute("VACUUM items")
            items.copy_vectors(connection, "items", items.uniform(500, 32, seed=3), first_id=2_000)
            connection.execute("CHECKPOINT")
            (path,) = connection.execute("SELECT pg_relation_filepath('items_ivf')").fetchone()
        self.file: Path = cluster.relation_file(path)
        cluster.stop()
        self.sound = self.file.read_bytes()
        assert len(self.sound) % PAGE == 0
        self.pages = len(self.sound) // PAGE

    def connect(self) -> psycopg.Connection:
        """Opens a connection that prefers the index."""
        connection = psycopg.connect(self.cluster.dsn(), autocommit=True)
        connection.execute("SET enable_seqscan = off")
        # A chain of pages that runs in a circle must end in an error; this ends it otherwise, with SQLSTATE 57014.
        connection.execute("SET statement_timeout = '20s'")
        return connection

    def outcomes(self, content: bytes) -> dict[str, str]:
        """Puts `content` in the index's place and runs every statement; returns its SQLSTATE, `00000` for success."""
        with self.file.open("r+b") as file:
            file.write(content)
            file.truncate()
        self.cluster.start()
        try:
            with self.connect() as connection:
                query = items.vector_text(items.uniform(1, 32, seed=8)[0])
                return {sql: self.sqlstate(connection, sql.replace("{q}", query)) for sql in STATEMENTS}
        finally:
            # Without a checkpoint nothing of the damage, or of what the statements did, is kept for the next round.
            self.cluster.stop()

    def sqlstate(self, connection: psycopg.Connection, sql: str) -> str:
        """Runs a statement; the connection must outlive it, whatever happens."""
        state = "00000"
        try:
            if sql.startswith("VACUUM"):
                connection.execute(sql)
            else:
                with connection.transaction(force_rollback=True):
                    connection.execute(sql).fetchall() if sql.startswith("SELECT") else connection.execute(sql)
        except psycopg.Error as error:
            assert error.sqlstate is not None, f"the backend died in: {sql}"
            # The code of NO_SUCH_BLOCK follows from whatever error the operating system reported last.
            message = error.diag.message_primary or ""
            known = [part for part in (WRONG_ORDER, NO_SUCH_BLOCK) if part in message]
            state = known[0] if known else error.sqlstate
        assert connection.execute("SELECT 1").fetchone() == (1,)
        return state


@pytest.fixture(params=items.STORAGES)
def damaged(make_cluster, request) -> Iterator[Damaged]:
    """An index to damage, in a cluster of its own."""
    # Full-page images and WAL replay would repair what the tests break; autovacuum would trip over it.
    yield Damaged(make_cluster({"autovacuum": "off", "fsync": "off"}), request.param)


def test_every_page_of_garbage_is_found_by_verify(damaged):
    generator = np.random.default_rng(items.SEED)
    # The first pages hold what all others hang on; of the rest, a few.
    pages = sorted({*range(min(4, damaged.pages)), *generator.integers(0, damaged.pages, 5).tolist()})
    for page in pages:
        content = bytearray(damaged.sound)
        garbage = generator.integers(1, 255, PAGE - PAGE_HEADER, dtype=np.uint8).tobytes()
        content[page * PAGE + PAGE_HEADER : (page + 1) * PAGE] = garbage
        outcomes = damaged.outcomes(bytes(content))
        assert outcomes["SELECT vectorgpu.verify('items_ivf')"] == "XX002", f"page {page}: {outcomes}"
        assert set(outcomes.values()) <= DAMAGE | {"00000"}, f"page {page}: {outcomes}"


def test_zeroed_metapage_is_corruption_to_every_statement(damaged):
    content = bytearray(damaged.sound)
    content[PAGE_HEADER:PAGE] = bytes(PAGE - PAGE_HEADER)
    outcomes = damaged.outcomes(bytes(content))
    assert set(outcomes.values()) <= DAMAGE | {"00000"}, outcomes
    for sql in STATEMENTS[:3] + STATEMENTS[4:]:
        assert outcomes[sql] == "XX002", outcomes


def test_truncated_file_is_an_error_and_no_crash(damaged):
    for pages in (0, 1, damaged.pages // 2):
        outcomes = damaged.outcomes(damaged.sound[: pages * PAGE])
        assert outcomes["SELECT vectorgpu.verify('items_ivf')"] in DAMAGE, f"{pages} pages: {outcomes}"
        assert set(outcomes.values()) <= DAMAGE | {"00000"}, f"{pages} pages: {outcomes}"


def test_flipped_bytes_never_kill_a_backend(damaged):
    generator = np.random.default_rng(items.SEED + 1)
    for round_number in range(15):
        content = bytearray(damaged.sound)
        # A handful a page, half of them near the start or the end, where a page keeps what describes the rest.
        for page in range(damaged.pages):
            near_edge = [PAGE_HEADER + int(generator.integers(0, 64)), PAGE - 1 - int(generator.integers(0, 64))]
            anywhere = generator.integers(PAGE_HEADER, PAGE, 2).tolist()
            for offset in near_edge + anywhere:
                if generator.random() < 0.3:
                    content[page * PAGE + offset] ^= 1 << int(generator.integers(0, 8))
        outcomes = damaged.outcomes(bytes(content))
        assert set(outcomes.values()) <= DAMAGE | {"00000"}, f"round {round_number}: {outcomes}"


def test_pages_in_the_wrong_place_are_found_by_verify(damaged):
    first = damaged.pages // 2
    content = bytearray(damaged.sound)
    content[first * PAGE : (first + 1) * PAGE] = damaged.sound[:PAGE]
    outcomes = damaged.outcomes(bytes(content))
    assert outcomes["SELECT vectorgpu.verify('items_ivf')"] == "XX002", outcomes
    assert set(outcomes.values()) <= DAMAGE | {"00000"}, outcomes
