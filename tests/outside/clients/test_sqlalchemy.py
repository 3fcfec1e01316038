"""The Python package pgvector with SQLAlchemy: columns, distance methods, aggregates, index DDL, reflection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sample
from pgvector import HalfVector, SparseVector
from pgvector.sqlalchemy import BIT, HALFVEC, SPARSEVEC, VECTOR, Vector, avg
from pgvector.sqlalchemy import sum as vector_sum
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import URL, Engine, Index, create_engine, inspect, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

# The method of a column for each operator.
METHODS = {"<->": "l2_distance", "<#>": "max_inner_product", "<=>": "cosine_distance", "<+>": "l1_distance"}
BIT_METHODS = {"<~>": "hamming_distance", "<%>": "jaccard_distance"}


class Base(DeclarativeBase):
    """The tables of this file."""


class Item(Base):
    """One column of each type, and the indexes that SQLAlchemy makes with the table."""

    __tablename__ = "items"
    id: Mapped[int] = mapped_column(primary_key=True)
    v: Mapped[Any] = mapped_column(Vector(3))
    h: Mapped[Any] = mapped_column(HALFVEC(3))
    s: Mapped[Any] = mapped_column(SPARSEVEC(3))
    b: Mapped[Any] = mapped_column(BIT(4))


for operator, operator_class in sample.OPERATOR_CLASSES.items():
    Index(
        sample.index_name(operator),
        Item.v,
        postgresql_using="ivf",
        postgresql_with={"lists": 1},
        postgresql_ops={"v": operator_class},
    )


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    """An engine on a database with the table and all rows."""
    parts = conninfo_to_dict(database)
    query = {"host": parts["host"], "port": parts["port"]}
    engine = create_engine(
        URL.create("postgresql+psycopg", username=parts["user"], database=parts["dbname"], query=query)
    )
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        for key, row in sample.ROWS.items():
            session.add(Item(id=key, v=row, h=HalfVector(row), s=SparseVector(row), b=sample.BITS[key]))
        session.commit()
    yield engine
    engine.dispose()


def test_rows_come_back_as_they_were_sent(engine):
    with Session(engine) as session:
        items = session.scalars(select(Item).order_by(Item.id)).all()
        assert {item.id: list(item.v) for item in items} == sample.ROWS
        assert {item.id: list(item.h) for item in items} == sample.ROWS
        assert {item.id: item.s.to_list() for item in items} == sample.ROWS
        assert {item.id: str(item.b) for item in items} == sample.BITS


@pytest.mark.parametrize("column", sample.VECTOR_COLUMNS)
@pytest.mark.parametrize("operator", sample.OPERATORS)
def test_distance_methods_order_rows(engine, column, operator):
    query = SparseVector(sample.QUERY) if column == "s" else sample.QUERY
    distance = getattr(getattr(Item, column), METHODS[operator])(query)
    with Session(engine) as session:
        sample.check_nearest(operator, session.execute(select(Item.id, distance).order_by(distance)).all())


@pytest.mark.parametrize("operator", sample.BIT_OPERATORS)
def test_distance_methods_of_bits_order_rows(engine, operator):
    distance = getattr(Item.b, BIT_METHODS[operator])(sample.BIT_QUERY)
    with Session(engine) as session:
        sample.check_nearest(operator, session.execute(select(Item.id, distance).order_by(distance)).all())


@pytest.mark.parametrize("operator", sample.OPERATOR_CLASSES)
def test_an_index_of_the_metadata_serves_its_distance_method(engine, operator):
    distance = getattr(Item.v, METHODS[operator])(sample.QUERY)
    with Session(engine) as session:
        session.execute(text("SET enable_seqscan = off"))
        found = session.execute(select(Item.id, distance).order_by(distance).limit(4)).all()
        sample.check_nearest(operator, found)
        used = session.execute(text("SELECT index::text FROM vectorgpu.last_scan()")).scalar()
    assert used == sample.index_name(operator)


@pytest.mark.parametrize(
    ("column", "operator"),
    [
        *((column, operator) for column in ("h", "s") for operator in sample.OPERATORS),
        *((sample.BIT_COLUMN, operator) for operator in sample.BIT_OPERATORS),
    ],
)
def test_an_index_on_another_type_serves_its_distance_method(engine, column, operator):
    attribute = getattr(Item, column)
    index = Index(
        "items_other",
        attribute,
        postgresql_using="ivf",
        postgresql_with={"lists": 1},
        postgresql_ops={column: sample.class_of_column(column, operator)},
    )
    query = {"h": sample.QUERY, "s": SparseVector(sample.QUERY), "b": sample.BIT_QUERY}[column]
    distance = getattr(attribute, {**METHODS, **BIT_METHODS}[operator])(query)
    try:
        index.create(engine)
        with Session(engine) as session:
            session.execute(text("SET enable_seqscan = off"))
            found = session.execute(select(Item.id, distance).order_by(distance).limit(4)).all()
            sample.check_nearest(operator, found)
            assert session.execute(text("SELECT index::text FROM vectorgpu.last_scan()")).scalar() == "items_other"
    finally:
        # The metadata of all tests would have it.
        Item.__table__.indexes.discard(index)


def test_aggregates_return_vectors(engine):
    with Session(engine) as session:
        mean, total = session.execute(select(avg(Item.v), vector_sum(Item.v))).one()
    expected = [sum(column) for column in zip(*sample.ROWS.values(), strict=True)]
    assert list(total) == expected
    assert list(mean) == [x / len(sample.ROWS) for x in expected]


def test_columns_and_indexes_are_reflected(engine):
    columns = {column["name"]: column["type"] for column in inspect(engine).get_columns("items")}
    assert isinstance(columns["v"], VECTOR)
    assert columns["v"].dim == 3
    assert isinstance(columns["h"], HALFVEC)
    assert isinstance(columns["s"], SPARSEVEC)
    reflected = {index["name"]: index for index in inspect(engine).get_indexes("items")}
    for operator, operator_class in sample.OPERATOR_CLASSES.items():
        options = reflected[sample.index_name(operator)]["dialect_options"]
        assert options["postgresql_using"] == "ivf"
        # The default operator class of a type is not named.
        assert options.get("postgresql_ops", {"v": "vector_l2_ops"}) == {"v": operator_class}
