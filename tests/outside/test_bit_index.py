"""Indexes on PostgreSQL's type bit, by Hamming and Jaccard distance."""

from __future__ import annotations

import items
import numpy as np
import psycopg
import pytest
from vectors import vector_text

# As psycopg wants them, with a percent sign twice.
OPERATORS = {"hamming": "<~>", "jaccard": "<%%>"}
LISTS = 20
BITS = 100

Row = tuple[int, float]


def random_bits(rows: int, bits: int = BITS, seed: int = items.SEED) -> list[str]:
    """Bit strings around some centres, from sparse to dense."""
    random = np.random.default_rng(seed)
    centres = random.random((30, bits)) < random.uniform(0.1, 0.9, (30, 1))
    strings = centres[random.integers(30, size=rows)] ^ (random.random((rows, bits)) < 0.15)
    return ["".join("01"[int(bit)] for bit in string) for string in strings]


def create(connection: psycopg.Connection, strings: list[str]) -> None:
    """Makes `items (id, embedding bit(n))` with these rows."""
    connection.execute(f"CREATE TABLE items (id int PRIMARY KEY, embedding bit({len(strings[0])}))")
    with connection.cursor().copy("COPY items FROM STDIN") as copy:
        for row in enumerate(strings):
            copy.write_row(row)
    connection.execute("ANALYZE items")


def index(connection: psycopg.Connection, metric: str, options: str = f"lists = {LISTS}") -> None:
    """Builds an index."""
    connection.execute(f"CREATE INDEX items_ivf ON items USING ivf (embedding bit_{metric}_ops) WITH ({options})")


def ask(connection: psycopg.Connection, metric: str, query: str, limit: int, probes: int | None) -> list[Row]:
    """(id, distance) of the nearest rows: through the index, or of all rows where `probes` is None."""
    distance = f"embedding {OPERATORS[metric]} %(q)s::text::bit({len(query)})"
    sql = f"SELECT id, {distance} FROM items ORDER BY {distance} LIMIT {limit}"
    with connection.transaction():
        connection.execute(f"SET LOCAL {'enable_seqscan' if probes else 'enable_indexscan'} = off")
        connection.execute(f"SET LOCAL vectorgpu.probes = {probes or 0}")
        plan = "\n".join(line for (line,) in connection.execute("EXPLAIN " + sql, {"q": query}, prepare=False))
        assert ("items_ivf" in plan) == bool(probes), plan
        return connection.execute(sql, {"q": query}, prepare=False).fetchall()


def distances(rows: list[Row]) -> list[float]:
    """Many rows are equally near, and any of them may be returned."""
    return [distance for _, distance in rows]


@pytest.mark.parametrize("metric", OPERATORS)
def test_an_index_gives_the_operators_order(connection, metric):
    create(connection, random_bits(4_000))
    index(connection, metric)
    queries = random_bits(10, seed=2)
    found = wanted = 0
    for query in queries:
        truth = ask(connection, metric, query, 50, None)
        assert distances(ask(connection, metric, query, 50, LISTS)) == distances(truth)
        some = ask(connection, metric, query, 50, 5)
        items.assert_sorted(some)
        found += sum(distance <= truth[-1][1] for _, distance in some)
        wanted += 50
    assert found / wanted >= 0.9, found / wanted
    connection.execute("INSERT INTO items SELECT id + 10000, embedding FROM items WHERE id < 500")
    connection.execute("INSERT INTO items VALUES (20000, NULL)")
    connection.execute("DELETE FROM items WHERE id % 3 = 0")
    items.vacuum(connection)
    assert items.verify(connection) == len(items.heap_ids(connection))
    for query in queries[:3]:
        truth = ask(connection, metric, query, 300, None)
        through = ask(connection, metric, query, 300, LISTS)
        assert distances(through) == distances(truth)
        assert len({identifier for identifier, _ in through}) == 300
    described = connection.execute("SELECT metric, storage, dims FROM vectorgpu.index_info('items_ivf')").fetchone()
    assert described == (metric, "bits", BITS)


@pytest.mark.parametrize("metric", OPERATORS)
def test_rows_join_with_their_nearest(connection, metric):
    strings = random_bits(1_000)
    create(connection, strings)
    index(connection, metric)
    rows = connection.execute(
        "SELECT a.embedding::text, j.rank, j.distance, b.embedding::text "
        f"FROM vectorgpu.knn_join('items', 'embedding', 'items_ivf', 3, {LISTS}) j "
        "JOIN items a ON a.ctid = j.tid JOIN items b ON b.ctid = j.neighbour_tid"
    ).fetchall()
    assert len(rows) == 3_000
    for mine, rank, distance, theirs in rows[:300]:
        if rank == 1:
            assert distance == 0.0
        (value,) = connection.execute(
            f"SELECT %s::text::bit({BITS}) {OPERATORS[metric]} %s::text::bit({BITS})", (mine, theirs)
        ).fetchone()
        assert distance == value


def test_parallel_workers_read_bits_as_one_process_does(connection):
    create(connection, random_bits(20_000, 256))
    connection.execute("SET min_parallel_table_scan_size = 0")
    built = []
    for workers in (0, 2):
        connection.execute(f"SET max_parallel_maintenance_workers = {workers}")
        index(connection, "hamming")
        built.append(items.pages(connection))
        connection.execute("DROP INDEX items_ivf")
    assert np.array_equal(built[0], built[1])


def test_signs_of_vectors_can_be_indexed_and_the_vectors_compared_after(connection):
    rows = items.uniform(3_000, 128) - 0.5
    items.create_items(connection, rows)
    connection.execute(
        "CREATE INDEX items_ivf ON items USING ivf ((binary_quantize(embedding)::bit(128)) bit_hamming_ops) "
        "WITH (lists = 10)"
    )
    sql = (
        "SELECT id FROM (SELECT id, embedding FROM items "
        "ORDER BY binary_quantize(embedding)::bit(128) <~> binary_quantize(%(q)s::vector) LIMIT 200) near "
        "ORDER BY embedding <=> %(q)s::vector LIMIT 1"
    )
    connection.execute("SET enable_seqscan = off; SET vectorgpu.probes = 10")
    for row in range(20):
        query = {"q": vector_text(rows[row] + 0.01)}
        plan = "\n".join(line for (line,) in connection.execute("EXPLAIN " + sql, query, prepare=False))
        assert "items_ivf" in plan, plan
        assert connection.execute(sql, query, prepare=False).fetchone() == (row,)


def test_a_string_may_have_as_many_bits_as_pgvector_allows(connection):
    connection.execute("CREATE TABLE items (id int, embedding bit(64000))")
    connection.execute(
        "INSERT INTO items SELECT n, (repeat('0', n * 100) || repeat('1', 64000 - n * 100))::bit(64000) "
        "FROM generate_series(0, 200) n"
    )
    index(connection, "hamming", "lists = 2")
    connection.execute("SET enable_seqscan = off; SET vectorgpu.probes = 2")
    nearest = connection.execute(
        "SELECT id FROM items ORDER BY embedding <~> repeat('1', 64000)::bit(64000) LIMIT 3"
    ).fetchall()
    assert nearest == [(0,), (1,), (2,)]
    connection.execute("CREATE TABLE longer (embedding bit(64001))")
    with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="more than 64000 dimensions"):
        connection.execute("CREATE INDEX ON longer USING ivf (embedding bit_hamming_ops)")


def test_what_does_not_suit_bits_is_refused(connection):
    create(connection, random_bits(100))
    with pytest.raises(psycopg.errors.InvalidParameterValue, match='"f16" of bit cannot be ordered by Hamming'):
        index(connection, "hamming", "storage = f16")
    connection.execute("CREATE TABLE floats (embedding vector(3))")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match='"bits" of vector cannot be ordered'):
        connection.execute("CREATE INDEX ON floats USING ivf (embedding vector_l2_ops) WITH (storage = bits)")
    index(connection, "jaccard", "storage = bits, lists = 3")
    connection.execute("SET enable_seqscan = off")
    with pytest.raises(psycopg.errors.DataException, match="different bit lengths 100 and 3"):
        connection.execute("SELECT id FROM items ORDER BY embedding <%> B'101' LIMIT 1").fetchall()
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="cannot be compared with bit strings"):
        connection.execute("SELECT vectorgpu.search('items_ivf', ARRAY['[1,2,3]']::vector[], 5)")


def test_bits_stay_on_the_cpu(gpu_connection):
    create(gpu_connection, random_bits(3_000))
    index(gpu_connection, "hamming")
    query = random_bits(1, seed=3)[0]
    assert distances(ask(gpu_connection, "hamming", query, 50, LISTS)) == distances(
        ask(gpu_connection, "hamming", query, 50, None)
    )
    (device,) = gpu_connection.execute("SELECT device FROM vectorgpu.last_scan()").fetchone()
    assert device.startswith("cpu")
