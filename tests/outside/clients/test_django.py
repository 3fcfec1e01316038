"""The Python package pgvector with Django: fields of each type, distance functions, aggregates, index DDL.

Its IvfflatIndex and HnswIndex name access methods that vectorgpu does not have of itself; a subclass with another
suffix is all that an index of ours takes, or a database that has the name ivfflat.
"""

from __future__ import annotations

from collections.abc import Iterator

import django
import pytest
import sample
from django.conf import settings
from psycopg.conninfo import conninfo_to_dict

settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql"}}, DEFAULT_AUTO_FIELD="django.db.models.AutoField"
)
django.setup()

# Both need the settings above.
from django.db import connection, models  # noqa: E402
from pgvector import HalfVector, SparseVector  # noqa: E402
from pgvector.django import (  # noqa: E402
    BitField,
    CosineDistance,
    HalfVectorField,
    HammingDistance,
    IvfflatIndex,
    JaccardDistance,
    L1Distance,
    L2Distance,
    MaxInnerProduct,
    SparseVectorField,
    VectorField,
)

FUNCTIONS = {"<->": L2Distance, "<#>": MaxInnerProduct, "<=>": CosineDistance, "<+>": L1Distance}
BIT_FUNCTIONS = {"<~>": HammingDistance, "<%>": JaccardDistance}


class IvfIndex(IvfflatIndex):
    """An index of vectorgpu's access method."""

    suffix = "ivf"


class Item(models.Model):
    """One column of each type, and the indexes that Django makes with the table."""

    v = VectorField(dimensions=3)
    h = HalfVectorField(dimensions=3)
    s = SparseVectorField(dimensions=3)
    b = BitField(length=4)

    class Meta:
        """Where it is, for want of an application."""

        app_label = "clients"
        db_table = "items"
        indexes = tuple(
            IvfIndex(name=sample.index_name(operator), fields=["v"], lists=1, opclasses=[operator_class])
            for operator, operator_class in sample.OPERATOR_CLASSES.items()
        )


@pytest.fixture
def items(database: str) -> Iterator[models.QuerySet]:
    """All rows of the table, which Django makes and fills."""
    parts = conninfo_to_dict(database)
    connection.settings_dict |= {
        "NAME": parts["dbname"],
        "HOST": parts["host"],
        "PORT": parts["port"],
        "USER": parts["user"],
    }
    with connection.schema_editor() as editor:
        editor.create_model(Item)
    for key, row in sample.ROWS.items():
        Item(id=key, v=row, h=HalfVector(row), s=SparseVector(row), b=sample.BITS[key]).save()
    yield Item.objects.all()
    connection.close()


def pairs(items: models.QuerySet, distance: models.Func) -> list[tuple[int, float]]:
    """Ids and distances, nearest first."""
    return list(items.annotate(distance=distance).order_by("distance").values_list("id", "distance"))


def test_rows_come_back_as_they_were_saved(items):
    assert {item.id: list(item.v) for item in items} == sample.ROWS
    assert {item.id: list(item.h) for item in items} == sample.ROWS
    assert {item.id: item.s.to_list() for item in items} == sample.ROWS
    assert {item.id: item.b for item in items} == sample.BITS


@pytest.mark.parametrize("column", sample.VECTOR_COLUMNS)
@pytest.mark.parametrize("operator", sample.OPERATORS)
def test_distance_functions_order_rows(items, column, operator):
    query = {"v": sample.QUERY, "h": HalfVector(sample.QUERY), "s": SparseVector(sample.QUERY)}[column]
    sample.check_nearest(operator, pairs(items, FUNCTIONS[operator](column, query)))


@pytest.mark.parametrize("operator", sample.BIT_OPERATORS)
def test_distance_functions_of_bits_order_rows(items, operator):
    sample.check_nearest(operator, pairs(items, BIT_FUNCTIONS[operator]("b", sample.BIT_QUERY)))


@pytest.mark.parametrize("operator", sample.OPERATOR_CLASSES)
def test_an_index_of_the_model_serves_its_distance_function(items, operator):
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        distance = FUNCTIONS[operator]("v", sample.QUERY)
        nearest = items.annotate(distance=distance).order_by("distance")[:4]
        sample.check_nearest(operator, list(nearest.values_list("id", "distance")))
        cursor.execute("SELECT index::text FROM vectorgpu.last_scan()")
        assert cursor.fetchone()[0] == sample.index_name(operator)


def test_its_own_index_is_one_where_the_database_has_the_name_ivfflat(items):
    index = IvfflatIndex(name="items_ivfflat", fields=["v"], lists=1, opclasses=["vector_l2_ops"])
    with connection.cursor() as cursor:
        cursor.execute("SELECT vectorgpu.create_ivfflat()")
        for other in Item._meta.indexes:
            cursor.execute(f"DROP INDEX {other.name}")
        with connection.schema_editor() as editor:
            editor.add_index(Item, index)
        cursor.execute("SET enable_seqscan = off")
        cursor.execute("SET ivfflat.probes = 1")
        distance = L2Distance("v", sample.QUERY)
        nearest = items.annotate(distance=distance).order_by("distance")[:4]
        sample.check_nearest("<->", list(nearest.values_list("id", "distance")))
        cursor.execute("SELECT index::text FROM vectorgpu.last_scan()")
        assert cursor.fetchone()[0] == "items_ivfflat"


def test_aggregates_return_vectors(items):
    found = items.aggregate(mean=models.Avg("v"), total=models.Sum("v"))
    expected = [sum(column) for column in zip(*sample.ROWS.values(), strict=True)]
    assert list(found["total"]) == expected
    assert list(found["mean"]) == [x / len(sample.ROWS) for x in expected]


def test_a_filter_by_distance_returns_the_near_rows(items):
    near = items.alias(distance=L2Distance("v", sample.QUERY)).filter(distance__lt=3).order_by("id")
    expected = sorted(key for key, distance in sample.nearest("<->") if distance < 3)
    assert [item.id for item in near] == expected
    assert 0 < len(expected) < len(sample.ROWS)
