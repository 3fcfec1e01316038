"""Runs the cases of this folder against a server and writes down what it answers.

`record.py` keeps the answers of a server with pgvector in `expected/`; `tests/outside/test_conformance.py` compares
those of a server with vectorgpu. Invariant: an answer holds nothing that differs between two servers with the same
extension (no OIDs, no positions), and what a client sees: types and bytes of rows, SQLSTATE, message, detail, hint.

A case is one statement, which ends with a line that ends with `;`. A line `-- close: 1e-6` above it lets numbers of
its rows differ by that relative error; all else is compared byte for byte. A line `-- until: 15` says that later
versions of PostgreSQL answer otherwise, whatever the extension. `COPY ... FROM STDIN` is followed by its
data and a line `\\.`: as it is for the text format; for the binary one, each line is a row of one column, in
hexadecimal or `\\N`. A file's statements run one after the other in one session, each in a transaction of its own.
"""

from __future__ import annotations

import re
import struct
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from psycopg import Connection
from psycopg.pq import DiagnosticField, ExecStatus
from psycopg.pq.abc import PGresult

FOLDER = Path(__file__).resolve().parent
CASES = FOLDER / "cases"
EXPECTED = FOLDER / "expected"

COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_TRAILER = struct.pack("!h", -1)
# What separates a case from its answer, and the answer from the next case; no statement and no answer has such a line.
ANSWER = "-->"
END = "----"
NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|Infinity|NaN)")


@dataclass(frozen=True)
class Case:
    """A statement, the data that COPY reads, how far numbers may be off (0: not at all), and the last version of
    PostgreSQL that answers so (None: no version is known to answer otherwise)."""

    statement: str
    data: tuple[str, ...]
    close: float
    until: int | None

    @property
    def text(self) -> str:
        """The case as its file has it, without its comments."""
        return "\n".join([self.statement, *self.data, "\\."]) if self.data else self.statement


class Malformed(Exception):
    """A file of this folder does not have the form that its readers expect."""


def topics() -> list[str]:
    """The names of all case files, in order."""
    return sorted(path.stem for path in CASES.glob("*.sql"))


def read_cases(topic: str) -> list[Case]:
    """Reads a case file.

    Raises Malformed for a statement without an end, and for one that occurs twice: a case is known by its text.
    """
    lines = iter((CASES / f"{topic}.sql").read_text().split("\n"))
    cases: list[Case] = []
    statement: list[str] = []
    close, until = 0.0, None
    for line in lines:
        if not statement and line.startswith("--"):
            if line.startswith("-- close: "):
                close = float(line.removeprefix("-- close: "))
            elif line.startswith("-- until: "):
                until = int(line.removeprefix("-- until: "))
            continue
        if not statement and not line:
            continue
        statement.append(line)
        if line.endswith(";"):
            text = "\n".join(statement)
            cases.append(Case(text, _copy_data(text, lines), close, until))
            statement, close, until = [], 0.0, None
    if statement:
        raise Malformed(f"{topic}: no end of {statement}")
    texts = [case.text for case in cases]
    if twice := {text for text in texts if texts.count(text) > 1}:
        raise Malformed(f"{topic}: more than once: {sorted(twice)}")
    return cases


def _copy_data(statement: str, lines: Iterator[str]) -> tuple[str, ...]:
    if not re.match(r"COPY .* FROM STDIN", statement):
        return ()
    data = []
    for line in lines:
        if line == "\\.":
            return tuple(data)
        data.append(line)
    raise Malformed(f"no end of the data of {statement}")


def write_expected(topic: str, answers: list[tuple[Case, str]]) -> None:
    """Writes the answers to a topic's cases, each below its case."""
    parts = [f"{case.text}\n{ANSWER}\n{answer}\n{END}\n" for case, answer in answers]
    (EXPECTED / f"{topic}.txt").write_text("".join(parts))


def read_expected(topic: str) -> dict[str, str]:
    """The answers that were recorded for a topic, by the text of the case."""
    path = EXPECTED / f"{topic}.txt"
    if not path.exists():
        raise Malformed(f"{path.name} is missing: record it as README.md says")
    parts = path.read_text().split(f"\n{END}\n")
    return dict(part.split(f"\n{ANSWER}\n") for part in parts if part)


@dataclass(frozen=True)
class Difference:
    """A case that is meant to have another answer than pgvector's: which, and why."""

    topic: str
    case: str
    answer: str
    reason: str


def known_differences() -> list[Difference]:
    """Reads `known_differences.toml`."""
    with (FOLDER / "known_differences.toml").open("rb") as file:
        entries = tomllib.load(file).get("difference", [])
    return [Difference(**{key: value.strip("\n") for key, value in entry.items()}) for entry in entries]


def same(expected: str, answer: str, close: float) -> bool:
    """Compares two answers: byte for byte, or numbers up to the relative error `close` and the rest byte for byte."""
    if close == 0 or expected == answer:
        return expected == answer
    if NUMBER.sub("#", expected) != NUMBER.sub("#", answer):
        return False
    pairs = zip(NUMBER.findall(expected), NUMBER.findall(answer), strict=True)
    return all(x == y or abs(float(x) - float(y)) <= close * abs(float(x)) for x, y in pairs)


class Session:
    """Runs cases in one session of a server."""

    def __init__(self, connection: Connection):
        """Takes a connection in autocommit mode, and leaves in it what the cases make."""
        self._connection = connection
        self._type_names: dict[tuple[int, int], str] = {}
        connection.execute("SET client_min_messages = warning")

    def answer(self, case: Case) -> str:
        """Runs a case; returns what the server answers, as text of one or more lines."""
        result = self._connection.pgconn.exec_(case.statement.encode())
        match result.status:
            case ExecStatus.COPY_IN:
                return self._copy_in(case, bool(result.binary_tuples))
            case ExecStatus.COPY_OUT:
                return self._copy_out(bool(result.binary_tuples))
            case _:
                return self._result(result)

    def _result(self, result: PGresult) -> str:
        match result.status:
            case ExecStatus.TUPLES_OK:
                return self._rows(result)
            case ExecStatus.COMMAND_OK:
                return result.command_status.decode()
            case _:
                return _error(result)

    def _rows(self, result: PGresult) -> str:
        columns = range(result.nfields)
        head = [f"{result.fname(i).decode()} {self._type_name(result.ftype(i), result.fmod(i))}" for i in columns]
        rows = ["\t".join(_field(result.get_value(row, i)) for i in columns) for row in range(result.ntuples)]
        return "\n".join([" | ".join(head), *rows])

    def _type_name(self, oid: int, typmod: int) -> str:
        if (oid, typmod) not in self._type_names:
            query = f"SELECT pg_catalog.format_type({oid}, {typmod})"
            name = self._connection.pgconn.exec_(query.encode()).get_value(0, 0)
            self._type_names[oid, typmod] = name.decode()
        return self._type_names[oid, typmod]

    def _copy_in(self, case: Case, binary: bool) -> str:
        pgconn = self._connection.pgconn
        if binary:
            pgconn.put_copy_data(COPY_HEADER)
            for line in case.data:
                field = None if line == "\\N" else bytes.fromhex(line)
                length = -1 if field is None else len(field)
                pgconn.put_copy_data(struct.pack("!hi", 1, length) + (field or b""))
            pgconn.put_copy_data(COPY_TRAILER)
        else:
            for line in case.data:
                pgconn.put_copy_data(line.encode() + b"\n")
        pgconn.put_copy_end()
        return self._last_result()

    def _copy_out(self, binary: bool) -> str:
        chunks = []
        while (got := self._connection.pgconn.get_copy_data(0))[0] > 0:
            chunks.append(bytes(got[1]))
        end = self._last_result()
        lines = [chunk.hex(" ", 4) if binary else chunk.decode().removesuffix("\n") for chunk in chunks]
        return "\n".join([*lines, end])

    def _last_result(self) -> str:
        answer = ""
        while (result := self._connection.pgconn.get_result()) is not None:
            answer = self._result(result)
        return answer


def _field(value: bytes | None) -> str:
    """A field as COPY would write it."""
    if value is None:
        return "\\N"
    text = value.decode()
    for plain, escaped in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(plain, escaped)
    return text


def _error(result: PGresult) -> str:
    """What an error says, without where in the statement it says so."""
    fields = {
        "DETAIL": DiagnosticField.MESSAGE_DETAIL,
        "HINT": DiagnosticField.MESSAGE_HINT,
    }
    state = result.error_field(DiagnosticField.SQLSTATE) or b"?"
    message = result.error_field(DiagnosticField.MESSAGE_PRIMARY) or b""
    lines = [f"ERROR {state.decode()}: {message.decode()}"]
    for name, field in fields.items():
        if value := result.error_field(field):
            lines.append(f"{name}: {value.decode()}")
    return "\n".join(lines)
