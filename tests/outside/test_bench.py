"""The parts of the benchmark that need no server: exact answers, memory, the page cache, and what reports choose."""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import threading
from pathlib import Path

import datasets
import memory
import numpy as np
import pagecache
import provenance
import pytest
import results
import tables

import bench


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
def test_exact_answers_do_not_depend_on_the_block_size(metric: str, monkeypatch: pytest.MonkeyPatch):
    random = np.random.default_rng(7)
    base = random.standard_normal((1000, 24), dtype=np.float32)
    queries = random.standard_normal((20, 24), dtype=np.float32)
    # 37 rows a block: fewer than the candidates of a query, and no divisor of the number of rows.
    monkeypatch.setattr(datasets, "ROWS_PER_BLOCK", 37)
    found = datasets.exact_neighbours(base, queries, metric, 10).ids
    wanted = [np.argsort(datasets.distances(base, query, metric))[:10] for query in queries]
    assert np.array_equal(found, wanted)


def test_a_cold_start_uses_the_smallest_setting_with_enough_recall():
    assert bench.first_setting({10: 0.96, 1: 0.5, 5: 0.95}, 0.95) == 5


def test_a_cold_start_uses_the_best_recall_where_none_is_enough():
    assert bench.first_setting({1: 0.5, 5: 0.8, 10: 0.7}, 0.95) == 5


def test_the_published_command_names_neither_server_nor_folders():
    arguments = ["vectorgpu", "--out", "/secret/a", "--rounds", "3", "--target=/secret/b", "--dsn", "password=secret"]
    assert provenance.command(arguments) == "scripts/bench.sh vectorgpu --rounds 3"


def test_private_memory_grows_with_what_a_process_touches():
    before = memory.memory_of(os.getpid())
    with mmap.mmap(-1, 32 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:
        block.write(bytes(len(block)))
        grown = memory.memory_of(os.getpid()).private_bytes - before.private_bytes
        assert grown >= 30 << 20


def test_a_segment_counts_with_what_it_occupies(monkeypatch: pytest.MonkeyPatch):
    path = Path(f"/dev/shm/vectorgpu-test-{os.getpid()}")
    monkeypatch.setattr(memory, "SEGMENTS", str(path))
    try:
        path.write_bytes(bytes(1 << 20))
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 0):
            assert memory.memory_of(os.getpid()).shared_bytes == 1 << 20
        assert memory.memory_of(os.getpid()).shared_bytes == 0
    finally:
        path.unlink()


def test_a_peak_is_the_largest_total_that_was_seen(monkeypatch: pytest.MonkeyPatch):
    samples = [memory.Memory(1, 1), memory.Memory(6, 1), memory.Memory(5, 9), memory.Memory(8, 2)]
    seen = threading.Event()

    def sample(_: int) -> memory.Memory:
        if len(samples) == 1:
            seen.set()
            return samples[0]
        return samples.pop(0)

    monkeypatch.setattr(memory, "SAMPLE_SECONDS", 0.001)
    monkeypatch.setattr(memory, "memory_of", sample)
    with memory.PeakMemory(0) as watched:
        assert seen.wait(10)
    assert watched.peak == memory.Memory(5, 9)


def test_cold_files_are_out_of_the_page_cache(tmp_path: Path):
    kind = subprocess.run(["stat", "-f", "-c", "%T", str(tmp_path)], capture_output=True, text=True, check=True)
    if kind.stdout.strip() in ("tmpfs", "ramfs"):
        pytest.skip("files that live in memory cannot be dropped from it")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "empty").write_bytes(b"")
    file = tmp_path / "folder" / "file"
    file.write_bytes(bytes(3 * mmap.PAGESIZE + 1))
    assert pagecache.cached_bytes(tmp_path) == 4 * mmap.PAGESIZE
    assert pagecache.make_cold(tmp_path, "fadvise") == 0
    file.read_bytes()
    assert pagecache.cached_bytes(tmp_path) == 4 * mmap.PAGESIZE


def write_run(path: Path, rows: int, ended: bool = True) -> Path:
    """A result file of two methods, of which only the second reaches recall .99."""
    lines = [{"what": "machine", "cpu": "one", "cores": 2, "memory_bytes": 1 << 30, "kernel": "6", "time": "now"}]
    lines[0] |= {"server_version": "15", "shared_buffers": "1GB", "max_wal_size": "1GB", "fsync": "on"}
    lines[0] |= {"command": "scripts/bench.sh vectorgpu other", "revision": "abc"}
    for label, recall in [("vectorgpu", 0.98), ("other", 1.0)]:
        lines.append({"what": "load", "label": label, "rows": rows, "dims": 8, "table_bytes": 1 << 20})
        lines.append({"what": "version", "label": label, "extensions": {label: "1.0"}})
        build = {"what": "build", "label": label, "s": 2.0, "rounds": [2.0], "index_bytes": 3 << 20, "ddl": "CREATE"}
        lines.append(build | {"private_bytes": 4 << 20, "shared_bytes": 5 << 20, "notices": []})
        for setting, found, qps in [(1, 0.5, 900.0), (2, 0.96, 200.0), (3, recall, 400.0)]:
            line = {"what": "query", "label": label, "set": setting, "k": 10, "recall": found, "qps": qps}
            lines.append(line | {"p50_ms": 1.0, "p99_ms": 2.0})
    if not ended:
        lines = [line for line in lines if line["what"] != "query"]
    common = {"data": f"clustered-{rows}x8", "metric": "l2"}
    path.write_text("".join(json.dumps(common | line) + "\n" for line in lines))
    return path


def test_the_best_setting_is_the_fastest_with_enough_recall(tmp_path: Path):
    run = results.read_run(write_run(tmp_path / "a.jsonl", 1000))
    assert run.best("vectorgpu", 0.95)["set"] == 3
    assert run.best("vectorgpu", 0.99) is None
    assert run.best_qps("other", 0.99) == 400.0


def test_runs_that_differ_in_rows_are_a_family_and_sorted_by_rows(tmp_path: Path):
    runs = results.read_runs([write_run(tmp_path / "a.jsonl", 9000), write_run(tmp_path / "b.jsonl", 1000)])
    assert [run.rows for run in runs] == [1000, 9000]
    assert runs[0].family == runs[1].family


def test_a_run_that_did_not_end_is_refused(tmp_path: Path):
    with pytest.raises(results.ResultError, match="did not end"):
        results.read_run(write_run(tmp_path / "a.jsonl", 1000, ended=False))


def test_a_report_holds_every_setting_of_every_method(tmp_path: Path):
    run = results.read_run(write_run(tmp_path / "a.jsonl", 1000))
    text = tables.document([run])
    for label in ("vectorgpu", "other"):
        assert text.count(f"\n| {label} | 1 | 0.5000 | 900 |") == 1
    assert "| ≥ 0.99 | vectorgpu | – | – | – | – |" in text
    assert "scripts/bench.sh vectorgpu other" in text


def test_every_row_of_a_table_has_as_many_cells_as_its_head(tmp_path: Path):
    run = results.read_run(write_run(tmp_path / "a.jsonl", 1000))
    width = 0
    for line in tables.document([run, run]).splitlines():
        if line.startswith("|"):
            width = width or line.count("|")
            assert line.count("|") == width
        else:
            width = 0
