"""Indexes on halfvec, and by taxicab distance: what the tests of vector's other metrics show, for each of them."""

from __future__ import annotations

import items
import numpy as np
import psycopg
import pytest
from vectors import vector_text

OPERATORS = {"l2": "<->", "ip": "<#>", "cosine": "<=>", "l1": "<+>"}
NAMES = {"l2": "l2", "ip": "inner_product", "cosine": "cosine", "l1": "l1"}
CASES = [
    *(("halfvec", metric, storage) for metric in ("l2", "ip", "cosine") for storage in ("auto", *items.STORAGES)),
    *((name, "l1", storage) for name in ("vector", "halfvec") for storage in ("auto", "f32", "f16")),
]
DIMS = 24
LISTS = 20

Row = tuple[int, float]


def create(connection: psycopg.Connection, name: str, rows: np.ndarray) -> None:
    """Makes `items (id, embedding)` with an embedding of type `name`."""
    items.create_items(connection, rows)
    if name != "vector":
        dims = rows.shape[1]
        connection.execute(f"ALTER TABLE items ALTER embedding TYPE {name}({dims}) USING embedding::{name}({dims})")
        connection.execute("ANALYZE items")


def index(connection: psycopg.Connection, name: str, metric: str, storage: str = "auto") -> None:
    """Builds an index."""
    connection.execute(
        f"CREATE INDEX items_ivf ON items USING ivf (embedding {name}_{metric}_ops) "
        f"WITH (lists = {LISTS}, storage = '{storage}')"
    )


def ask(
    connection: psycopg.Connection, name: str, metric: str, query: np.ndarray, limit: int, probes: int | None
) -> list[Row]:
    """(id, distance) of the nearest rows: through the index, or of all rows where `probes` is None."""
    operator = OPERATORS[metric]
    distance = f"embedding {operator} %(q)s::{name}"
    sql = f"SELECT id, {distance} FROM items ORDER BY {distance} LIMIT {limit}"
    arguments = {"q": vector_text(query)}
    with connection.transaction():
        off = "enable_seqscan" if probes else "enable_indexscan"
        connection.execute(f"SET LOCAL {off} = off")
        connection.execute(f"SET LOCAL vectorgpu.probes = {probes or 0}")
        plan = "\n".join(line for (line,) in connection.execute("EXPLAIN " + sql, arguments, prepare=False))
        assert ("items_ivf" in plan) == bool(probes), plan
        return connection.execute(sql, arguments, prepare=False).fetchall()


@pytest.mark.parametrize(("name", "metric", "storage"), CASES)
def test_an_index_gives_the_operators_order(connection, name, metric, storage):
    create(connection, name, items.uniform(3_000, DIMS) - 0.3)
    index(connection, name, metric, storage)
    queries = items.uniform(8, DIMS, seed=2) - 0.3
    found = wanted = 0
    for query in queries:
        truth = ask(connection, name, metric, query, 50, None)
        items.assert_same_answer(ask(connection, name, metric, query, 50, LISTS), truth)
        some = ask(connection, name, metric, query, 50, 8)
        items.assert_sorted(some)
        found += sum(distance <= truth[-1][1] for _, distance in some)
        wanted += len(truth)
    # Uniform rows have no structure: eight lists of twenty hold most of what is near, but fewer by inner product.
    assert found / wanted >= (0.6 if metric == "ip" else 0.75), found / wanted
    connection.execute("INSERT INTO items SELECT id + 10000, embedding FROM items WHERE id < 500")
    connection.execute("INSERT INTO items VALUES (20000, NULL)")
    connection.execute("DELETE FROM items WHERE id % 3 = 0")
    items.vacuum(connection)
    assert items.verify(connection) == len(items.heap_ids(connection))
    for query in queries[:3]:
        truth = ask(connection, name, metric, query, 200, None)
        items.assert_same_answer(ask(connection, name, metric, query, 200, LISTS), truth)
    (described,) = connection.execute("SELECT metric FROM vectorgpu.index_info('items_ivf')").fetchone()
    assert described == NAMES[metric]


@pytest.mark.parametrize(
    ("name", "metric"), [("halfvec", "l2"), ("halfvec", "cosine"), ("vector", "l1"), ("halfvec", "l1")]
)
def test_functions_of_many_queries_find_what_order_by_finds(device_connection, name, metric):
    connection = device_connection
    create(connection, name, items.uniform(2_000, DIMS))
    index(connection, name, metric)
    queries = items.uniform(12, DIMS, seed=3)
    texts = [vector_text(query) for query in queries]
    searches = {
        "vectorgpu.search('items_ivf', %s::vector[], 7, 20)": texts,
        f"vectorgpu.exact_search('items', 'embedding', %s::vector[], 7, '{NAMES[metric]}')": texts,
    }
    for call, argument in searches.items():
        rows = connection.execute(
            f"SELECT s.query, i.id, s.distance FROM {call} s JOIN items i ON i.ctid = s.tid ORDER BY s.query, s.rank",
            (argument,),
        ).fetchall()
        for number, query in enumerate(queries, 1):
            found = [(identifier, distance) for asked, identifier, distance in rows if asked == number]
            items.assert_same_answer(found, ask(connection, name, metric, query, 7, None))
    joined = connection.execute(
        "SELECT count(*), count(*) FILTER (WHERE j.rank = 1 AND j.tid = j.neighbour_tid) "
        "FROM vectorgpu.knn_join('items', 'embedding', 'items_ivf', 2, 20) j"
    ).fetchone()
    assert joined == (4_000, 2_000), "every row is the nearest to itself"


def test_parallel_workers_read_halves_as_one_process_does(connection):
    create(connection, "halfvec", items.uniform(20_000, 64))
    connection.execute("SET min_parallel_table_scan_size = 0")
    built = []
    for workers in (0, 2):
        connection.execute(f"SET max_parallel_maintenance_workers = {workers}")
        index(connection, "halfvec", "l2")
        built.append(items.pages(connection))
        connection.execute("DROP INDEX items_ivf")
    assert np.array_equal(built[0], built[1])


def test_halves_are_stored_as_they_are(connection):
    create(connection, "halfvec", items.uniform(500, DIMS) * 1000)
    index(connection, "halfvec", "l2", "f16")
    query = items.uniform(1, DIMS, seed=4)[0] * 1000
    items.assert_same_answer(
        ask(connection, "halfvec", "l2", query, 500, LISTS), ask(connection, "halfvec", "l2", query, 500, None)
    )


def test_taxicab_distance_has_the_storages_that_suit_it(connection):
    create(connection, "vector", items.uniform(100, DIMS))
    for storage in ("int8", "rabitq"):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="cannot be ordered by taxicab distance"):
            index(connection, "vector", "l1", storage)
    index(connection, "vector", "l1")
    (storage,) = connection.execute("SELECT storage FROM vectorgpu.index_info('items_ivf')").fetchone()
    assert storage == "f16"


def test_taxicab_distance_stays_on_the_cpu_and_says_so(gpu_connection):
    create(gpu_connection, "vector", items.uniform(500, DIMS))
    index(gpu_connection, "vector", "l1")
    query = items.uniform(1, DIMS, seed=4)[0]
    items.assert_same_answer(
        ask(gpu_connection, "vector", "l1", query, 50, LISTS), ask(gpu_connection, "vector", "l1", query, 50, None)
    )
    (why,) = gpu_connection.execute("SELECT why FROM vectorgpu.last_scan()").fetchone()
    assert why == "distances of this kind are computed on the CPU"
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="taxicab"):
        gpu_connection.execute("SELECT * FROM vectorgpu.prewarm('items_ivf')")


def test_queries_of_a_halfvec_index_are_rounded_and_may_be_too_large(connection):
    create(connection, "halfvec", items.uniform(100, 3))
    index(connection, "halfvec", "l2")
    distances = connection.execute(
        "SELECT s.distance = (i.embedding <-> '[0.1,0.2,0.3]'::halfvec) "
        "FROM vectorgpu.search('items_ivf', '{\"[0.1,0.2,0.3]\"}'::vector[], 5, 20) s JOIN items i ON i.ctid = s.tid"
    ).fetchall()
    assert distances == [(True,)] * 5
    with pytest.raises(psycopg.errors.NumericValueOutOfRange, match="out of range for type halfvec"):
        connection.execute("SELECT vectorgpu.search('items_ivf', '{\"[70000,0,0]\"}'::vector[], 5)")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="is not of type halfvec"):
        connection.execute("CREATE TABLE others AS SELECT '[1,2,3]'::vector(3) AS embedding")
        connection.execute("SELECT vectorgpu.knn_join('others', 'embedding', 'items_ivf', 1)")
