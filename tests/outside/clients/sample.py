"""The rows that every client writes, and what it has to get back for the query by each operator.

Distances are computed here by their definitions, in double precision; all numbers are small integers, so that single
and half precision hold them.
"""

from __future__ import annotations

import math

# By id. No two rows are equally far from the query by any of the operators.
ROWS = {1: [1, 2, 3], 2: [4, 0, 6], 3: [-1, 0, 2], 4: [0, 5, 1]}
QUERY = [1, 1, 2]
BITS = {1: "1011", 2: "0111", 3: "0000", 4: "1010"}
BIT_QUERY = "1010"

# The table that clients write, one column of each type. Clients that are told types make it themselves.
TABLE = "CREATE TABLE items (id int PRIMARY KEY, v vector(3), h halfvec(3), s sparsevec(3), b bit(4))"
VECTOR_COLUMNS = ("v", "h", "s")
BIT_COLUMN = "b"

# Operator class of the index ivf for each operator that has one.
OPERATOR_CLASSES = {
    "<->": "vector_l2_ops",
    "<#>": "vector_ip_ops",
    "<=>": "vector_cosine_ops",
    "<+>": "vector_l1_ops",
}


# The same for the columns of other types.
BIT_OPERATOR_CLASSES = {"<~>": "bit_hamming_ops", "<%>": "bit_jaccard_ops"}
COLUMN_TYPES = {"v": "vector", "h": "halfvec", "s": "sparsevec"}


def class_of_column(column: str, operator: str) -> str:
    """The operator class by which a column is indexed for an operator."""
    if column == BIT_COLUMN:
        return BIT_OPERATOR_CLASSES[operator]
    return OPERATOR_CLASSES[operator].replace("vector", COLUMN_TYPES[column])


def _dot(left: list[int], right: list[int]) -> float:
    return sum(x * y for x, y in zip(left, right, strict=True))


def _bits(left: str, right: str) -> tuple[int, int]:
    """How many bits both have, and how many at least one of them has."""
    pairs = list(zip(left, right, strict=True))
    return sum(pair == ("1", "1") for pair in pairs), sum("1" in pair for pair in pairs)


DISTANCES = {
    "<->": lambda x, y: math.dist(x, y),
    "<#>": lambda x, y: -_dot(x, y),
    "<=>": lambda x, y: 1 - _dot(x, y) / math.sqrt(_dot(x, x) * _dot(y, y)),
    "<+>": lambda x, y: sum(abs(a - b) for a, b in zip(x, y, strict=True)),
}
BIT_DISTANCES = {
    "<~>": lambda x, y: sum(a != b for a, b in zip(x, y, strict=True)),
    "<%>": lambda x, y: 1 - _bits(x, y)[0] / _bits(x, y)[1],
}
OPERATORS = tuple(DISTANCES)
BIT_OPERATORS = tuple(BIT_DISTANCES)


def nearest(operator: str) -> list[tuple[int, float]]:
    """All ids and their distances from the query, nearest first."""
    if operator in DISTANCES:
        distances = {key: DISTANCES[operator](row, QUERY) for key, row in ROWS.items()}
    else:
        distances = {key: BIT_DISTANCES[operator](row, BIT_QUERY) for key, row in BITS.items()}
    assert len(set(distances.values())) == len(distances), f"two rows are equally far by {operator}"
    return sorted(distances.items(), key=lambda entry: entry[1])


def index_name(operator: str) -> str:
    """The name of the index for an operator."""
    return f"items_{OPERATOR_CLASSES[operator]}"


def index_statements() -> list[str]:
    """DDL of an index for each operator that has an operator class."""
    return [
        f"CREATE INDEX {index_name(operator)} ON items USING ivf (v {operator_class}) WITH (lists = 1)"
        for operator, operator_class in OPERATOR_CLASSES.items()
    ]


def check_nearest(operator: str, found: list) -> None:
    """Compares ids and their order; distances, which were summed in single precision, to six digits."""
    expected = nearest(operator)
    assert [row[0] for row in found] == [key for key, _ in expected], f"order by {operator}"
    for row, (_, distance) in zip(found, expected, strict=True):
        assert math.isclose(row[1], distance, rel_tol=1e-6, abs_tol=1e-6), f"{operator}: {row} and {distance}"


def for_program() -> dict:
    """Rows and queries for a client that is another program, ready to be written as JSON."""
    return {"rows": ROWS, "query": QUERY, "bits": BITS, "bit_query": BIT_QUERY}


def check_report(report: dict) -> None:
    """Checks what such a program prints: the rows that it read back, and those that it found by each operator."""
    by_id = {str(key): row for key, row in ROWS.items()}
    for column in VECTOR_COLUMNS:
        assert report["rows"][column] == by_id, column
        for operator in OPERATORS:
            check_nearest(operator, report["nearest"][column][operator])
    assert report["rows"][BIT_COLUMN] == {str(key): row for key, row in BITS.items()}
    for operator in BIT_OPERATORS:
        check_nearest(operator, report["nearest"][BIT_COLUMN][operator])
    for operator in OPERATOR_CLASSES:
        found = report["indexed"][operator]
        check_nearest(operator, found["rows"])
        assert found["index"] == index_name(operator), f"{operator}: another plan"
