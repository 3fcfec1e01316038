"""Lists in GPU memory: the answers of the pages, whatever happens to the index, and memory within its limit."""

from __future__ import annotations

import threading
from collections.abc import Callable

import items
import numpy as np
import psycopg
import pytest
from conftest import use_gpu
from items import Scan
from test_standby import change, start_standby, wait_for_replay

DIMS, LISTS = 32, 20
GPU = {"vectorgpu.device": "gpu", "vectorgpu.allow_software_gpu": "on"}
RESIDENT = "SELECT lists, rows FROM vectorgpu.resident_indexes WHERE index = %s::regclass"


def resident(connection: psycopg.Connection, index: str = "items_ivf") -> tuple[int, int]:
    """Lists and rows of an index in this session's GPU memory."""
    return connection.execute(RESIDENT, (index,)).fetchone() or (0, 0)


def bytes_up(connection: psycopg.Connection) -> int:
    """Bytes that this session has sent to the GPU."""
    return connection.execute("SELECT bytes_up FROM vectorgpu.stats").fetchone()[0]


def assert_as_on_the_cpu(connection: psycopg.Connection, seed: int = 5) -> None:
    """Asserts that searches on the GPU find what searches on the CPU find, of a few lists and of all."""
    for query in items.uniform(3, DIMS, seed=seed):
        for probes in (3, LISTS):
            scan = Scan(probes=probes, limit=30)
            use_gpu(connection)
            on_gpu = items.through_index(connection, query, scan)
            assert connection.execute("SELECT device <> 'cpu' FROM vectorgpu.last_scan()").fetchone() == (True,)
            connection.execute("SET vectorgpu.device = 'cpu'")
            items.assert_same_answer(on_gpu, items.through_index(connection, query, scan))
    use_gpu(connection)


def filled(connection: psycopg.Connection, storage: str = "auto", rows: int = 3_000) -> None:
    """Makes the table and its index, and copies all lists."""
    items.create_items(connection, items.uniform(rows, DIMS))
    items.create_index(connection, LISTS, storage=storage)
    use_gpu(connection)
    _, lists, copied, size = connection.execute("SELECT * FROM vectorgpu.prewarm('items_ivf')").fetchone()
    assert (lists, copied) == (LISTS, rows) and size > rows * DIMS * 2


@pytest.mark.parametrize("storage", items.STORAGES)
def test_prewarmed_lists_are_not_sent_again_and_appended_rows_alone_are(gpu_connection, storage):
    filled(gpu_connection, storage)
    before = bytes_up(gpu_connection)
    assert gpu_connection.execute("SELECT rows FROM vectorgpu.prewarm('items_ivf')").fetchone() == (3_000,)
    assert bytes_up(gpu_connection) == before
    assert_as_on_the_cpu(gpu_connection)
    searches = bytes_up(gpu_connection) - before
    items.copy_vectors(gpu_connection, "items", items.uniform(100, DIMS, seed=9), first_id=10_000)
    assert_as_on_the_cpu(gpu_connection)
    assert resident(gpu_connection) == (LISTS, 3_100)
    # The same searches, and a hundred rows: codes, and vectors where they are kept.
    assert bytes_up(gpu_connection) - before < 2.2 * searches + 100 * (DIMS * 6 + 64)


@pytest.mark.parametrize("storage", items.STORAGES)
def test_rows_that_vacuum_removes_are_gone_though_others_take_their_places(gpu_connection, database, storage):
    filled(gpu_connection, storage)
    with psycopg.connect(database, autocommit=True) as writer:
        for round_number in range(3):
            writer.execute("DELETE FROM items WHERE mod(id, 3) = %s", (round_number,))
            items.vacuum(writer)
            # The freed row pointers get other vectors.
            rows = items.uniform(800, DIMS, seed=20 + round_number)
            items.copy_vectors(writer, "items", rows, first_id=10_000 * (round_number + 1))
            assert_as_on_the_cpu(gpu_connection, seed=round_number)
    assert items.indexed_ids(gpu_connection, LISTS) == items.heap_ids(gpu_connection)


def reindex(connection: psycopg.Connection) -> None:
    connection.execute("UPDATE items SET embedding = embedding + embedding WHERE mod(id, 2) = 0")
    connection.execute("REINDEX INDEX items_ivf")


def truncate(connection: psycopg.Connection) -> None:
    connection.execute("TRUNCATE items")
    items.copy_vectors(connection, "items", items.uniform(2_000, DIMS, seed=77))


def vacuum_full(connection: psycopg.Connection) -> None:
    connection.execute("DELETE FROM items WHERE mod(id, 2) = 0")
    connection.execute("VACUUM FULL items")


def rolled_back_insert(connection: psycopg.Connection) -> None:
    with connection.transaction(force_rollback=True):
        items.copy_vectors(connection, "items", items.uniform(500, DIMS, seed=3), first_id=50_000)
        assert_as_on_the_cpu(connection)


def rolled_back_reindex(connection: psycopg.Connection) -> None:
    with connection.transaction(force_rollback=True):
        connection.execute("REINDEX INDEX items_ivf")
        assert_as_on_the_cpu(connection)


def rolled_back_truncate(connection: psycopg.Connection) -> None:
    with connection.transaction(force_rollback=True):
        connection.execute("TRUNCATE items")
        items.copy_vectors(connection, "items", items.uniform(700, DIMS, seed=4))
        assert_as_on_the_cpu(connection)


CHANGES = [reindex, truncate, vacuum_full, rolled_back_insert, rolled_back_reindex, rolled_back_truncate]


@pytest.mark.parametrize("change_index", CHANGES)
def test_copies_follow_a_rebuilt_index(gpu_connection, change_index: Callable[[psycopg.Connection], None]):
    filled(gpu_connection)
    assert_as_on_the_cpu(gpu_connection)
    change_index(gpu_connection)
    assert_as_on_the_cpu(gpu_connection)
    assert items.indexed_ids(gpu_connection, LISTS) == items.heap_ids(gpu_connection)


def test_copies_follow_an_index_truncated_in_the_transaction_that_made_it(gpu_connection):
    use_gpu(gpu_connection)
    with gpu_connection.transaction():
        items.create_items(gpu_connection, items.uniform(1_000, DIMS))
        items.create_index(gpu_connection, LISTS)
        for seed in range(3):
            assert_as_on_the_cpu(gpu_connection)
            # The same file, and versions that count from the start.
            gpu_connection.execute("TRUNCATE items")
            items.copy_vectors(gpu_connection, "items", items.uniform(1_000, DIMS, seed=seed + 30))
    assert_as_on_the_cpu(gpu_connection)
    assert items.indexed_ids(gpu_connection, LISTS) == list(range(1_000))


def test_several_indexes_share_little_memory_and_the_limit_holds(gpu_connection):
    gpu_connection.execute("SET vectorgpu.vram_limit = '24MB'")
    gpu_connection.execute("SET vectorgpu.staging_size = '1MB'")
    use_gpu(gpu_connection)
    rows = items.uniform(20_000, 64)
    for number in range(3):
        gpu_connection.execute(f"CREATE TABLE t{number} (id int PRIMARY KEY, embedding vector(64))")
        items.copy_vectors(gpu_connection, f"t{number}", rows + number)
        gpu_connection.execute(
            f"CREATE INDEX t{number}_ivf ON t{number} USING ivf (embedding vector_l2_ops) WITH (lists = 40)"
        )
    gpu_connection.execute("SET enable_seqscan = off")
    gpu_connection.execute("SET vectorgpu.probes = 4")
    for round_number in range(30):
        number = round_number % 3
        text = items.vector_text(rows[round_number * 7] + number)
        sql = f"SELECT id FROM t{number} ORDER BY embedding <-> '{text}' LIMIT 1"
        assert gpu_connection.execute(sql).fetchone() == (round_number * 7,)
    used, limit = gpu_connection.execute("SELECT vram_peak_bytes, vram_limit_bytes FROM vectorgpu.stats").fetchone()
    assert used <= limit == 24 << 20
    held = gpu_connection.execute("SELECT count(*), sum(bytes) FROM vectorgpu.resident_indexes").fetchone()
    assert held[0] >= 1 and held[1] <= limit


def test_many_queries_whose_lists_do_not_fit_together_are_answered_one_by_one(gpu_connection):
    rows = items.uniform(40_000, 128)
    items.create_items(gpu_connection, rows)
    items.create_index(gpu_connection, 100, storage="f16")
    gpu_connection.execute("SET vectorgpu.vram_limit = '16MB'")
    gpu_connection.execute("SET vectorgpu.staging_size = '1MB'")
    use_gpu(gpu_connection)
    found = searched(gpu_connection, rows[::700], 1, 2)
    assert [distance for *_, distance in found] == [0] * len(rows[::700])
    used, limit = gpu_connection.execute("SELECT vram_peak_bytes, vram_limit_bytes FROM vectorgpu.stats").fetchone()
    assert used <= limit


def test_prewarm_that_does_not_fit_warns_and_keeps_what_does(gpu_connection):
    notices: list[str] = []
    gpu_connection.add_notice_handler(lambda notice: notices.append(notice.message_primary))
    items.create_items(gpu_connection, items.uniform(60_000, 128))
    items.create_index(gpu_connection, 100, storage="f16")
    gpu_connection.execute("SET vectorgpu.vram_limit = '16MB'")
    gpu_connection.execute("SET vectorgpu.staging_size = '1MB'")
    use_gpu(gpu_connection)
    lists = gpu_connection.execute("SELECT lists FROM vectorgpu.prewarm('items_ivf')").fetchone()[0]
    assert 0 < lists < 100
    assert any("not all lists" in notice and "vram_limit" in notice for notice in notices), notices


def test_prewarm_refuses_what_it_cannot_do(gpu_connection):
    items.create_items(gpu_connection, items.uniform(100, DIMS))
    items.create_index(gpu_connection, 2)
    gpu_connection.execute("SET vectorgpu.device = 'cpu'")
    with pytest.raises(psycopg.errors.FeatureNotSupported, match=r"vectorgpu\.device is cpu"):
        gpu_connection.execute("SELECT vectorgpu.prewarm('items_ivf')")
    use_gpu(gpu_connection)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="is not an index"):
        gpu_connection.execute("SELECT vectorgpu.prewarm('items')")
    gpu_connection.execute("CREATE ROLE stranger")
    gpu_connection.execute("SET ROLE stranger")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        gpu_connection.execute("SELECT vectorgpu.prewarm('items_ivf')")
    gpu_connection.execute("RESET ROLE")
    gpu_connection.execute("DROP ROLE stranger")


def test_last_scan_says_where_why_and_how_long(gpu_connection, gpu_device):
    filled(gpu_connection)
    columns = "device, why, rank_us, check_us, scan_us"
    items.through_index(gpu_connection, items.uniform(1, DIMS)[0], Scan(probes=5))
    device, why, *times = gpu_connection.execute(f"SELECT {columns} FROM vectorgpu.last_scan()").fetchone()
    assert device == gpu_device and "asks for the GPU" in why and all(time > 0 for time in times)
    gpu_connection.execute("SET vectorgpu.device = 'cpu'")
    items.through_index(gpu_connection, items.uniform(1, DIMS)[0], Scan(probes=5))
    device, why, rank, check, scan = gpu_connection.execute(f"SELECT {columns} FROM vectorgpu.last_scan()").fetchone()
    assert device != gpu_device and "is cpu" in why and rank > 0 and check == 0 and scan > 0


def test_large_limits_and_filters_go_on_past_what_was_asked_for_first(gpu_connection):
    rows = items.uniform(3_000, DIMS)
    filled(gpu_connection)
    query = rows[17]
    for limit in (1, 100, 1_500, 3_000):
        found = items.through_index(gpu_connection, query, Scan(probes=LISTS, limit=limit))
        expected = np.sort(np.linalg.norm(rows.astype(np.float64) - query, axis=1))[:limit]
        assert len(found) == limit
        assert np.allclose([distance for _, distance in found], expected, atol=1e-5)
    text = items.vector_text(query)
    sql = f"SELECT id FROM items WHERE mod(id, 500) = 3 ORDER BY embedding <-> '{text}' LIMIT 6"
    assert sorted(identifier for (identifier,) in gpu_connection.execute(sql)) == [3, 503, 1003, 1503, 2003, 2503]


def test_searches_on_the_gpu_beside_writers_and_vacuum_agree_with_the_table(gpu_connection, database):
    filled(gpu_connection)
    done, errors = threading.Event(), []

    def write(number: int) -> None:
        with psycopg.connect(database, autocommit=True) as writer:
            for round_number in range(12):
                first = 100_000 * (number + 1) + 100 * round_number
                rows = items.uniform(100, DIMS, seed=first)
                items.copy_vectors(writer, "items", rows, first_id=first)
                writer.execute("DELETE FROM items WHERE id >= %s AND id < %s AND mod(id, 2) = 0", (first, first + 100))
                writer.execute("VACUUM (INDEX_CLEANUP on) items")

    def search() -> None:
        with psycopg.connect(database, autocommit=True) as reader:
            use_gpu(reader)
            reader.execute("SET enable_seqscan = off")
            reader.execute(f"SET vectorgpu.probes = {LISTS}")
            queries = items.uniform(50, DIMS, seed=1)
            count = 0
            while not done.is_set():
                text = items.vector_text(queries[count % len(queries)])
                with reader.transaction():
                    reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                    sql = f"SELECT id FROM items ORDER BY embedding <-> '{text}' LIMIT 25"
                    on_gpu = reader.execute(sql).fetchall()
                    reader.execute("SET LOCAL enable_seqscan = on")
                    reader.execute("SET LOCAL enable_indexscan = off")
                    exact = reader.execute(sql).fetchall()
                assert on_gpu == exact
                count += 1
            assert count > 0

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            errors.append(error)

    writers = [threading.Thread(target=run, args=(lambda n=n: write(n),)) for n in range(3)]
    readers = [threading.Thread(target=run, args=(search,)) for _ in range(3)]
    for thread in writers + readers:
        thread.start()
    for thread in writers:
        thread.join(timeout=120)
    done.set()
    for thread in readers:
        thread.join(timeout=60)
    assert not errors, errors
    assert not any(thread.is_alive() for thread in writers + readers), "a client hangs"
    assert_as_on_the_cpu(gpu_connection)


def test_a_standby_searches_copies_that_follow_the_replay(make_cluster, gpu_device):
    primary = make_cluster()
    with psycopg.connect(primary.dsn(), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vectorgpu")
        items.create_items(connection, items.uniform(5_000, DIMS))
        items.create_index(connection, LISTS)
        standby = make_cluster.adopt(start_standby(primary))
        with psycopg.connect(standby.dsn(), autocommit=True) as replica:
            use_gpu(replica)
            assert replica.execute("SELECT rows FROM vectorgpu.prewarm('items_ivf')").fetchone() == (5_000,)
            for round_number in range(3):
                change(connection, round_number)
                wait_for_replay(connection, replica)
                assert_as_on_the_cpu(replica, seed=round_number)
            assert items.indexed_ids(replica, LISTS) == items.heap_ids(connection)


def searched(connection: psycopg.Connection, queries: np.ndarray, k: int, probes: int) -> list[tuple]:
    """What vectorgpu.search returns."""
    arguments = ([items.vector_text(query) for query in queries], k, probes)
    return connection.execute("SELECT * FROM vectorgpu.search('items_ivf', %s::vector[], %s, %s)", arguments).fetchall()


@pytest.mark.parametrize("storage", items.STORAGES)
@pytest.mark.parametrize("metric", items.METRICS)
def test_many_queries_at_once_find_on_the_gpu_what_they_find_on_the_cpu(gpu_connection, gpu_device, metric, storage):
    items.create_items(gpu_connection, items.uniform(2_000, DIMS) - 0.5)
    items.create_index(gpu_connection, LISTS, metric, storage)
    # Versions that a snapshot does not see, chains of versions on a page, and rows that are gone.
    gpu_connection.execute("ALTER TABLE items ADD note int")
    gpu_connection.execute("UPDATE items SET note = 1 WHERE mod(id, 3) = 0")
    gpu_connection.execute("DELETE FROM items WHERE mod(id, 7) = 0")
    items.copy_vectors(gpu_connection, "items (id, embedding)", items.uniform(200, DIMS, seed=3), first_id=5_000)
    queries = items.uniform(30, DIMS, seed=8) - 0.5
    for k, probes in ((1, 1), (10, 4), (10, LISTS), (56, 8), (100, 8)):
        use_gpu(gpu_connection)
        on_gpu = searched(gpu_connection, queries, k, probes)
        assert gpu_connection.execute("SELECT device FROM vectorgpu.last_scan()").fetchone() == (gpu_device,)
        gpu_connection.execute("SET vectorgpu.device = 'cpu'")
        on_cpu = searched(gpu_connection, queries, k, probes)
        assert [row[3] for row in on_gpu] == [row[3] for row in on_cpu]
        assert on_gpu == on_cpu


def test_many_queries_at_once_with_odd_ones_among_them(gpu_connection):
    items.create_items(gpu_connection, items.uniform(500, DIMS))
    items.create_index(gpu_connection, 5, "cosine")
    use_gpu(gpu_connection)
    queries = items.uniform(6, DIMS, seed=2)
    queries[2] = 0
    queries[4] = 3e37
    gpu_connection.execute("SET vectorgpu.profile = on")
    on_gpu = searched(gpu_connection, queries, 3, 5)
    kernels = {kernel for (kernel,) in gpu_connection.execute("SELECT kernel FROM vectorgpu.kernel_times")}
    # Which of the two depends on the device.
    assert kernels & {"list_keys", "list_keys_cooperative"}
    assert {"top_few_spans", "list_fetch"} <= kernels
    gpu_connection.execute("SET vectorgpu.device = 'cpu'")
    on_cpu = searched(gpu_connection, queries, 3, 5)
    assert [(row[:2], str(row[3])) for row in on_gpu] == [(row[:2], str(row[3])) for row in on_cpu]
    use_gpu(gpu_connection)
    with pytest.raises(psycopg.errors.DataException, match="dimensions"):
        searched(gpu_connection, items.uniform(2, DIMS + 1), 3, 5)
