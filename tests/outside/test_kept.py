"""What a session keeps of an index between scans must not outlive a rebuild: its answers are those of a new session."""

from __future__ import annotations

import items
import psycopg
import pytest
from items import Scan

DIMS, ROWS, LISTS = 24, 3_000, 60
QUERIES = items.uniform(20, DIMS, seed=3)


def fill(connection: psycopg.Connection, seed: int) -> None:
    """Replaces the rows by others."""
    connection.execute("DELETE FROM items")
    add(connection, seed)


def add(connection: psycopg.Connection, seed: int) -> None:
    """Inserts rows that depend on `seed`."""
    rows = items.uniform(ROWS, DIMS, seed)
    # Another corner of space each time, so that old centroids would lead to other lists.
    rows[:, seed % DIMS] += 3
    items.copy_vectors(connection, "items", rows)


def answers(connection: psycopg.Connection) -> list[list[items.Row]]:
    """What the index says with few probes."""
    return [items.through_index(connection, query, Scan(probes=2)) for query in QUERIES]


@pytest.fixture
def searched(connection):
    """A session that has searched the index."""
    items.create_items(connection, items.uniform(ROWS, DIMS))
    items.create_index(connection, LISTS)
    answers(connection)
    return connection


def reindex_here(connection: psycopg.Connection, _database: str) -> None:
    fill(connection, 5)
    connection.execute("REINDEX INDEX items_ivf")


def reindex_elsewhere(_connection: psycopg.Connection, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as other:
        reindex_here(other, database)


def reindex_concurrently(connection: psycopg.Connection, _database: str) -> None:
    fill(connection, 6)
    connection.execute("REINDEX INDEX CONCURRENTLY items_ivf")


def truncate_and_reindex(connection: psycopg.Connection, _database: str) -> None:
    with connection.transaction():
        connection.execute("TRUNCATE items")
        add(connection, 7)
        answers(connection)
        connection.execute("REINDEX INDEX items_ivf")


def drop_and_create(connection: psycopg.Connection, _database: str) -> None:
    fill(connection, 8)
    connection.execute("DROP INDEX items_ivf")
    items.create_index(connection, LISTS)


def vacuum_full(connection: psycopg.Connection, _database: str) -> None:
    fill(connection, 9)
    connection.execute("VACUUM FULL items")


def roll_back(connection: psycopg.Connection, _database: str) -> None:
    with connection.transaction(force_rollback=True):
        fill(connection, 10)
        connection.execute("REINDEX INDEX items_ivf")
        answers(connection)


@pytest.mark.parametrize(
    "change",
    [
        reindex_here,
        reindex_elsewhere,
        reindex_concurrently,
        truncate_and_reindex,
        drop_and_create,
        vacuum_full,
        roll_back,
    ],
    ids=lambda change: change.__name__,
)
def test_a_session_answers_like_a_new_one_after(searched, database, change):
    before = answers(searched)
    change(searched, database)
    with psycopg.connect(database, autocommit=True) as fresh:
        expected = answers(fresh)
    assert answers(searched) == expected
    assert (expected == before) == (change is roll_back)


def test_a_table_rebuilt_in_its_first_transaction_is_searched_anew(connection, database):
    """The index keeps its file then."""
    with connection.transaction():
        items.create_items(connection, items.uniform(ROWS, DIMS))
        items.create_index(connection, LISTS)
        answers(connection)
        connection.execute("TRUNCATE items")
        add(connection, 11)
        connection.execute("REINDEX INDEX items_ivf")
        inside = answers(connection)
    with psycopg.connect(database, autocommit=True) as fresh:
        assert answers(fresh) == inside
