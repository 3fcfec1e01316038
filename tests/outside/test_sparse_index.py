"""Indexes on sparsevec: rows come in the order of the operators' values, and few of them are compared."""

from __future__ import annotations

import items
import numpy as np
import psycopg
import pytest

OPERATORS = {"l2": "<->", "ip": "<#>", "cosine": "<=>", "l1": "<+>"}
NAMES = {"l2": "l2", "ip": "inner_product", "cosine": "cosine", "l1": "l1"}
DIMS = 30_000
LISTS = 20

Row = tuple[int, float]


def texts(rows: int, dims: int = DIMS, seed: int = items.SEED, share_negative: float = 0.0) -> list[str]:
    """Rows like those of text models: some hundred positive elements, most of them words of one of forty topics."""
    random = np.random.default_rng(seed)
    words = np.random.default_rng(items.SEED).integers(dims, size=(40, 400))
    made = []
    for _ in range(rows):
        own = random.choice(words[random.integers(40)], random.integers(40, 100))
        indices = np.unique(np.concatenate([own, random.integers(dims, size=30)]))
        values = random.gamma(2.0, 0.4, len(indices)) * np.where(random.random(len(indices)) < share_negative, -1, 1)
        elements = ",".join(f"{index + 1}:{value:.5g}" for index, value in zip(indices, values, strict=True))
        made.append(f"{{{elements}}}/{dims}")
    return made


def create(connection: psycopg.Connection, rows: list[str], dims: int = DIMS) -> None:
    """Makes `items (id, embedding sparsevec(n))` with these rows."""
    connection.execute(f"CREATE TABLE items (id int PRIMARY KEY, embedding sparsevec({dims}))")
    with connection.cursor().copy("COPY items FROM STDIN") as copy:
        for row in enumerate(rows):
            copy.write_row(row)
    connection.execute("ANALYZE items")


def index(connection: psycopg.Connection, metric: str, options: str = f"lists = {LISTS}") -> None:
    """Builds an index."""
    connection.execute(f"CREATE INDEX items_ivf ON items USING ivf (embedding sparsevec_{metric}_ops) WITH ({options})")


def ask(connection: psycopg.Connection, metric: str, query: str, limit: int, probes: int | None) -> list[Row]:
    """(id, distance) of the nearest rows: through the index, or of all rows where `probes` is None."""
    distance = f"embedding {OPERATORS[metric]} %(q)s::sparsevec"
    sql = f"SELECT id, {distance} FROM items ORDER BY {distance} LIMIT {limit}"
    with connection.transaction():
        connection.execute(f"SET LOCAL {'enable_seqscan' if probes else 'enable_indexscan'} = off")
        connection.execute(f"SET LOCAL vectorgpu.probes = {probes or 0}")
        plan = "\n".join(line for (line,) in connection.execute("EXPLAIN " + sql, {"q": query}, prepare=False))
        assert ("items_ivf" in plan) == bool(probes), plan
        return connection.execute(sql, {"q": query}, prepare=False).fetchall()


@pytest.mark.parametrize("metric", OPERATORS)
@pytest.mark.parametrize("share_negative", [0.0, 0.5], ids=["positive", "signed"])
def test_an_index_gives_the_operators_order(connection, metric, share_negative):
    create(connection, texts(3_000, share_negative=share_negative))
    index(connection, metric)
    queries = texts(8, seed=2, share_negative=share_negative)
    found = wanted = 0
    for query in queries:
        truth = ask(connection, metric, query, 30, None)
        items.assert_same_answer(ask(connection, metric, query, 30, LISTS), truth)
        some = ask(connection, metric, query, 30, 6)
        items.assert_sorted(some)
        found += sum(distance <= truth[-1][1] for _, distance in some)
        wanted += 30
    # Of signed rows nothing is near but by chance; taxicab distance mostly says how short a row is.
    assert found / wanted >= (0.9 if share_negative == 0.0 and metric != "l1" else 0.3), found / wanted
    connection.execute("INSERT INTO items SELECT id + 10000, embedding FROM items WHERE id < 300")
    connection.execute("INSERT INTO items VALUES (20000, NULL), (20001, '{}/30000')")
    connection.execute("DELETE FROM items WHERE id % 3 = 0")
    items.vacuum(connection)
    assert items.verify(connection) == len(items.heap_ids(connection))
    for query in queries[:2]:
        truth = ask(connection, metric, query, 200, None)
        items.assert_same_answer(ask(connection, metric, query, 200, LISTS), truth)
    described = connection.execute("SELECT metric, storage, dims FROM vectorgpu.index_info('items_ivf')").fetchone()
    assert described == (NAMES[metric], "sketch", DIMS)


@pytest.mark.parametrize("dims", [1, 3, 200, 300, 512, 513, 1_000_000_000])
def test_any_number_of_dimensions(connection, dims):
    rows = [f"{{1:{n / 7:.4g}}}/{dims}" for n in range(1, 300)]
    if dims > 2:
        rows += [f"{{1:{n / 5:.4g},{dims}:-{n}}}/{dims}" for n in range(1, 300)]
    create(connection, rows, dims)
    for metric in OPERATORS:
        index(connection, metric, "lists = 3")
        for query in (rows[40], rows[-1]):
            items.assert_same_answer(
                ask(connection, metric, query, len(rows), 3), ask(connection, metric, query, len(rows), None)
            )
        # Nothing is nearer to it than anything else by two of the metrics.
        assert len(ask(connection, metric, f"{{}}/{dims}", len(rows), 3)) == len(rows)
        connection.execute("DROP INDEX items_ivf")


def test_few_rows_are_compared(connection):
    create(connection, texts(5_000))
    index(connection, "ip")
    connection.execute("SET enable_seqscan = off; SET vectorgpu.probes = 20")
    nearest = "SELECT id FROM items ORDER BY embedding <#> %s::sparsevec LIMIT 10"
    for query in texts(10, seed=4):
        plan = "\n".join(line for (line,) in connection.execute("EXPLAIN " + nearest, (query,), prepare=False))
        assert "items_ivf" in plan, plan
        connection.execute("SELECT pg_stat_reset_single_table_counters('items'::regclass)")
        connection.execute(nearest, (query,), prepare=False)
        connection.execute("SELECT pg_stat_force_next_flush()")
        (fetched,) = connection.execute(
            "SELECT idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'items'"
        ).fetchone()
        assert 10 <= fetched < 200, f"{fetched} of 5,000 rows were fetched for ten"


def test_parallel_workers_read_sparse_vectors_as_one_process_does(connection):
    create(connection, texts(8_000))
    connection.execute("SET min_parallel_table_scan_size = 0")
    built = []
    for workers in (0, 2):
        connection.execute(f"SET max_parallel_maintenance_workers = {workers}")
        index(connection, "l2")
        built.append(items.pages(connection))
        connection.execute("DROP INDEX items_ivf")
    assert np.array_equal(built[0], built[1])


def test_what_does_not_suit_sparse_vectors_is_refused(connection):
    create(connection, texts(100))
    with pytest.raises(psycopg.errors.InvalidParameterValue, match='"f16" of sparsevec cannot be ordered'):
        index(connection, "l2", "storage = f16")
    connection.execute("CREATE TABLE floats (embedding vector(3))")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match='"sketch" of vector cannot be ordered'):
        connection.execute("CREATE INDEX ON floats USING ivf (embedding vector_l2_ops) WITH (storage = sketch)")
    connection.execute("CREATE TABLE unbounded (embedding sparsevec)")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="does not have dimensions"):
        connection.execute("CREATE INDEX ON unbounded USING ivf (embedding sparsevec_l2_ops)")
    index(connection, "l2", "storage = sketch, lists = 3")
    connection.execute("SET enable_seqscan = off")
    with pytest.raises(psycopg.errors.DataException, match="different sparsevec dimensions 30000 and 3"):
        connection.execute("SELECT id FROM items ORDER BY embedding <-> '{1:1}/3'::sparsevec LIMIT 1").fetchall()
    for call in (
        "vectorgpu.search('items_ivf', ARRAY['[1,2,3]']::vector[], 5)",
        "vectorgpu.knn_join('items', 'embedding', 'items_ivf', 5)",
    ):
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="searched for one at a time"):
            connection.execute(f"SELECT {call}")


def test_sparse_vectors_stay_on_the_cpu_but_their_lists_may_be_made_on_a_gpu(gpu_connection):
    create(gpu_connection, texts(2_000))
    index(gpu_connection, "cosine")
    query = texts(1, seed=3)[0]
    items.assert_same_answer(
        ask(gpu_connection, "cosine", query, 50, LISTS), ask(gpu_connection, "cosine", query, 50, None)
    )
    device, why = gpu_connection.execute("SELECT device, why FROM vectorgpu.last_scan()").fetchone()
    assert device.startswith("cpu") and why == "distances of this kind are computed on the CPU"
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="keeps no copies of lists"):
        gpu_connection.execute("SELECT * FROM vectorgpu.prewarm('items_ivf')")
