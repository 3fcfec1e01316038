"""Compatibility with pgvector: every case of tests/conformance is answered as a server with pgvector answered it.

The cases of a file run once, in order, in one session; each is a test. Golden files are read, and written again byte
for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import conformance
import golden
import psycopg
import pytest
from cluster import Cluster

TOPICS = conformance.topics()
CASES = [(topic, case) for topic in TOPICS for case in conformance.read_cases(topic)]
DIFFERENCES = {(entry.topic, entry.case): entry for entry in conformance.known_differences()}


def name(value: object) -> str:
    """The part of a test's name that stands for a topic or a case: its beginning, in printable ASCII."""
    text = value.text if isinstance(value, conformance.Case) else str(value)
    return "".join(letter if letter.isascii() and letter.isprintable() else "_" for letter in text[:70])


@pytest.fixture(scope="module")
def conformance_dsn(shared_cluster: Cluster) -> Iterator[str]:
    """A connection string to a database of this module's own; afterwards no backend may have died."""
    died_before = len(shared_cluster.died_backends())
    with psycopg.connect(shared_cluster.dsn(), autocommit=True) as server:
        server.execute("DROP DATABASE IF EXISTS conformance WITH (FORCE)")
        server.execute("CREATE DATABASE conformance")
    dsn = shared_cluster.dsn("conformance")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vectorgpu")
    yield dsn
    died = shared_cluster.died_backends()[died_before:]
    assert not died, f"backends died: {died}"


@pytest.fixture(scope="module")
def answers(conformance_dsn: str) -> Callable[[str], dict[str, str]]:
    """What vectorgpu answers to the cases of a topic, by their text; a topic runs when it is first asked for."""

    @cache
    def run(topic: str) -> dict[str, str]:
        with psycopg.connect(conformance_dsn, autocommit=True) as connection:
            session = conformance.Session(connection)
            return {case.text: session.answer(case) for case in conformance.read_cases(topic)}

    return run


@pytest.fixture(scope="module")
def expected() -> Callable[[str], dict[str, str]]:
    """What pgvector answered to the cases of a topic, by their text."""
    return cache(conformance.read_expected)


@pytest.fixture(scope="module")
def version(conformance_dsn: str) -> int:
    """The server's major version."""
    with psycopg.connect(conformance_dsn) as connection:
        return connection.info.server_version // 10_000


@pytest.mark.parametrize(("topic", "case"), CASES, ids=name)
def test_case_is_answered_as_by_pgvector(answers, expected, version, topic, case):
    if case.until is not None and version > case.until:
        pytest.skip(f"PostgreSQL {version} answers otherwise than {case.until}")
    answer, recorded = answers(topic)[case.text], expected(topic)[case.text]
    difference = DIFFERENCES.get((topic, case.text))
    if difference is None:
        if not conformance.same(recorded, answer, case.close):
            # Not an assert: what pytest makes of two texts is harder to read than they are.
            pytest.fail(f"{case.text}\npgvector:\n{recorded}\nvectorgpu:\n{answer}", pytrace=False)
    else:
        assert not conformance.same(recorded, answer, case.close), (
            "known_differences.toml has a stale entry: no difference"
        )
        assert answer == difference.answer, f"neither pgvector's answer nor the one that is known: {difference.reason}"


@pytest.mark.parametrize("topic", TOPICS)
def test_every_case_was_recorded_and_nothing_else(expected, topic):
    cases = [case.text for case in conformance.read_cases(topic)]
    assert list(expected(topic)) == cases, (
        "the cases have changed: record them anew, as tests/conformance/README.md says"
    )


def test_every_known_difference_is_of_a_case_and_has_a_reason():
    cases = {(topic, case.text) for topic, case in CASES}
    assert [entry.case for key, entry in DIFFERENCES.items() if key not in cases] == []
    assert [entry.case for entry in DIFFERENCES.values() if not entry.reason] == []


def test_an_answer_that_differs_is_seen():
    assert conformance.same("x real\n1.5", "x real\n1.5", 0)
    assert not conformance.same("x real\n1.5", "x real\n1.50", 0)
    assert conformance.same("x real\n1.5", "x real\n1.50001", 1e-4)
    assert not conformance.same("x real\n1.5", "x real\n1.51", 1e-4)
    assert not conformance.same("x real\n1.5", "x real\n1.5\n1.5", 1e-4)
    assert not conformance.same("x real\n1.5", "y real\n1.5", 1e-4)
    assert not conformance.same("x real\n1", "x real\nNaN", 1e-4)


@pytest.fixture
def golden_connection(conformance_dsn: str) -> Iterator[psycopg.Connection]:
    """A connection to a session without tables of its own."""
    with psycopg.connect(conformance_dsn, autocommit=True) as connection:
        yield connection


@pytest.mark.parametrize("read_format", golden.FORMATS)
@pytest.mark.parametrize("type_name", golden.TYPES)
def test_golden_files_are_read_and_written_again_byte_for_byte(golden_connection, type_name, read_format):
    golden.create_table(golden_connection, type_name)
    golden.copy_in(golden_connection, type_name, read_format, golden.path(type_name, read_format).read_bytes())
    for copy_format in golden.FORMATS:
        assert (
            golden.copy_out(golden_connection, type_name, copy_format)
            == golden.path(type_name, copy_format).read_bytes()
        )


@pytest.mark.parametrize("type_name", golden.TYPES)
def test_rows_of_the_golden_files_become_pgvectors_bytes(golden_connection, type_name):
    golden.create_table(golden_connection, type_name)
    golden_connection.execute((golden.FOLDER / f"{type_name}.sql").read_text())
    for copy_format in golden.FORMATS:
        assert (
            golden.copy_out(golden_connection, type_name, copy_format)
            == golden.path(type_name, copy_format).read_bytes()
        )
