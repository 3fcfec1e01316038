"""The demo: loads Fashion-MNIST into a private server, builds an IVF index, and measures what a search returns.

Then language models (demo_models.py).

Every figure it prints is measured in this run: recall against exact search over all rows, and times as a client sees
them on one connection. Run by demo.sh, which has installed what this needs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psycopg
from cluster import Cluster, ClusterError, bindir_of, data_parent
from datasets import DatasetError, exact_neighbours, fashion_mnist
from demo_models import show_models
from vectors import copy_vectors, vector_text

LISTS = 245  # about sqrt(60,000)
PROBES = (1, 5, 10, 20)
K = 10
CPU_QUERIES = 300
# Software Vulkan is there to show that the GPU path works, and is slow: a few queries say as much.
SOFTWARE_QUERIES = 30
# Where the output is a log, a line this often says that the build goes on.
PROGRESS_EVERY_S = 5
CLASSES = ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
SETTINGS = {"shared_buffers": "768MB", "maintenance_work_mem": "512MB", "max_wal_size": "4GB"}
DDL = f"CREATE INDEX items_embedding ON items USING ivf (embedding vector_l2_ops) WITH (lists = {LISTS})"


class DemoError(Exception):
    """The demo cannot go on; the message is for the user."""


def main() -> int:
    """Runs the demo, or stops a kept server; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", type=Path, required=True, help="the build folder; the server lives in it")
    parser.add_argument("--keep", action="store_true", help="leave the server running")
    parser.add_argument("--stop", action="store_true", help="stop and delete a kept server, and do nothing else")
    options = parser.parse_args()
    # A terminated demo must not leave its server behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        kept = KeptServer(options.target)
        stopped = kept.stop()
        if options.stop:
            print("demo server stopped and deleted" if stopped else "no demo server is kept")
            return 0
        run(options, kept)
        return 0
    except (ClusterError, DatasetError, DemoError, psycopg.Error) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


class KeptServer:
    """Where a server that `--keep` left running is remembered between runs."""

    def __init__(self, target: Path):
        """Uses a file in `target`."""
        self.file = target / "demo-server.json"

    def remember(self, cluster: Cluster) -> None:
        """Notes the folders of a running cluster."""
        self.file.write_text(json.dumps({"folder": str(cluster.folder), "socket": str(cluster.socket)}))

    def stop(self) -> bool:
        """Stops and deletes the remembered cluster; returns whether there was one."""
        if not self.file.exists():
            return False
        noted = json.loads(self.file.read_text())
        cluster = Cluster(Path(noted["folder"]), bindir_of(os.environ["PG_CONFIG"]))
        cluster.remove()
        shutil.rmtree(noted["socket"], ignore_errors=True)
        self.file.unlink()
        return True


def run(options: argparse.Namespace, kept: KeptServer) -> None:
    """Makes the server, shows everything, and removes the server unless it shall stay."""
    folder, is_preferred = data_parent(options.target / "demo")
    step("Starting a private PostgreSQL server (Unix socket only)")
    if not is_preferred:
        note(f"user postgres cannot enter {options.target}, so the data goes to {folder}")
    cluster = Cluster(folder, bindir_of(os.environ["PG_CONFIG"]))
    keep = False
    try:
        if cluster.data.exists():
            shutil.rmtree(cluster.data)
        cluster.create(SETTINGS)
        cluster.start()
        note(f"data in {cluster.data}, log in {cluster.log}")
        with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
            show(connection, cluster)
            # Where the server cannot enter the build folder, it can enter its own.
            show_models(connection, options.target / "models" if is_preferred else folder / "models")
        print_next_steps(cluster, options.keep)
        keep = options.keep
        if keep:
            kept.remember(cluster)
    finally:
        if not keep:
            cluster.remove()


def show(connection: psycopg.Connection, cluster: Cluster) -> None:
    """Loads, builds and searches over one connection."""
    connection.execute("CREATE EXTENSION vectorgpu")
    step("Reading Fashion-MNIST and finding the exact answers with numpy")
    data = fashion_mnist(CPU_QUERIES)
    truth = exact_neighbours(data.base, data.queries, "l2", K)
    note(f"{len(data.base):,} images of {data.base.shape[1]} dimensions; {CPU_QUERIES} held-out images are the queries")

    step("Loading the images by COPY")
    connection.execute("CREATE TABLE items (id int PRIMARY KEY, embedding vector(784))")
    seconds = timed(lambda: copy_vectors(connection, "items", data.base))
    size = connection.execute("SELECT pg_size_pretty(pg_table_size('items'))").fetchone()[0]
    note(f"{len(data.base):,} rows in {seconds:.1f} s, table {size}")
    connection.execute("VACUUM ANALYZE items")

    step("Building the index")
    print(f"    {DDL};")
    seconds = build_with_progress(connection, cluster)
    size = connection.execute("SELECT pg_size_pretty(pg_relation_size('items_embedding'))").fetchone()[0]
    note(f"built in {seconds:.1f} s, index {size}")

    devices = connection.execute("SELECT name, kind, coalesce(driver, '') AS driver, software FROM vectorgpu.devices()")
    print_table("Devices that this machine offers (the CPU alone is fine)", devices)
    step(f"Searching: the {K} nearest of {len(data.base):,} images, one connection, one query at a time")
    recall = f"recall@{K}"
    print(f"    {'device':<36} {'probes':>6} {'queries':>7} {recall:>9} {'p50 ms':>8} {'p99 ms':>8} {'queries/s':>9}")
    search_on(connection, data, truth, {"vectorgpu.device": "cpu"}, CPU_QUERIES)
    search_on_gpu(connection, data, truth)
    show_one_answer(connection, data)


def build_with_progress(connection: psycopg.Connection, cluster: Cluster) -> float:
    """Creates the index; a second connection reports the phases meanwhile. Returns seconds."""
    done = threading.Event()
    reporter = threading.Thread(target=report_progress, args=(cluster.dsn(), done), daemon=True)
    reporter.start()
    try:
        return timed(lambda: connection.execute(DDL))
    finally:
        done.set()
        reporter.join()


def report_progress(dsn: str, done: threading.Event) -> None:
    """Prints what pg_stat_progress_create_index shows, until `done`: one line that changes on a terminal, else a line
    for each phase and every few seconds."""
    query = "SELECT phase, tuples_done, tuples_total FROM pg_stat_progress_create_index"
    is_terminal = sys.stdout.isatty()
    last_phase, last_time = "", 0.0
    with contextlib.suppress(psycopg.Error), psycopg.connect(dsn, autocommit=True) as connection:
        while not done.wait(0.1):
            row = connection.execute(query).fetchone()
            if row is None:
                continue
            phase, tuples_done, tuples_total = row
            line = phase + (f", {tuples_done:,} of {tuples_total:,} rows" if tuples_total else "")
            bare_phase = re.sub(r"[\d.]+ ?%", "", phase)
            if is_terminal:
                print(f"\r    {line:<100}", end="", flush=True)
            elif bare_phase != last_phase or time.monotonic() - last_time > PROGRESS_EVERY_S:
                note(line)
                last_time = time.monotonic()
            last_phase = bare_phase
    if is_terminal and last_phase:
        print()


def search_on_gpu(connection: psycopg.Connection, data, truth) -> None:
    """Repeats the searches on the GPU: a real one, or software Vulkan to show that the path works."""
    before = {"vectorgpu.device": "gpu", "vectorgpu.allow_software_gpu": "off"}
    try:
        search_on(connection, data, truth, before, CPU_QUERIES)
        return
    except psycopg.Error as error:
        note(f"no hardware GPU: {error.diag.message_primary}")
    try:
        before["vectorgpu.allow_software_gpu"] = "on"
        search_on(connection, data, truth, before, SOFTWARE_QUERIES)
        note("the last rows ran on software Vulkan, which emulates a GPU on the CPU: correct, and slow by nature")
    except psycopg.Error as error:
        note(f"no software Vulkan either: {error.diag.message_primary}")
    finally:
        connection.execute("RESET vectorgpu.device")
        connection.execute("RESET vectorgpu.allow_software_gpu")


def search_on(connection: psycopg.Connection, data, truth, settings: dict[str, str], queries: int) -> None:
    """Runs the first `queries` queries at each number of probes and prints one line for each number."""
    for name, value in settings.items():
        connection.execute("SELECT set_config(%s, %s, false)", (name, value))
    sql = f"SELECT id FROM items ORDER BY embedding <-> %s::vector LIMIT {K}"
    texts = [vector_text(query) for query in data.queries[:queries]]
    plan = "\n".join(row[0] for row in connection.execute("EXPLAIN " + sql, (texts[0],)))
    if "items_embedding" not in plan:
        raise DemoError(f"the planner did not choose the index:\n{plan}")
    for probes in PROBES:
        connection.execute("SELECT set_config('vectorgpu.probes', %s, false)", (str(probes),))
        for text in texts[:5]:
            connection.execute(sql, (text,), prepare=True).fetchall()
        latencies, hits = [], 0
        for i, text in enumerate(texts):
            started = time.perf_counter()
            rows = connection.execute(sql, (text,), prepare=True).fetchall()
            latencies.append((time.perf_counter() - started) * 1000)
            hits += truth.hits(i, [row[0] for row in rows], K)
        device = connection.execute("SELECT device FROM vectorgpu.last_scan()").fetchone()[0]
        recall, qps = hits / (K * queries), 1000 * queries / sum(latencies)
        p50, p99 = np.percentile(latencies, [50, 99])
        line = f"{device[:36]:<36} {probes:>6} {queries:>7} {recall:>9.4f} {p50:>8.2f} {p99:>8.2f} {qps:>9.0f}"
        print(f"    {line}", flush=True)
    connection.execute("RESET vectorgpu.probes")


def show_one_answer(connection: psycopg.Connection, data) -> None:
    """Prints what one search finds, in words."""
    step("What that means: for the first held-out image, the index finds")
    sql = "SELECT id, embedding <-> %(q)s::vector AS distance FROM items ORDER BY embedding <-> %(q)s::vector LIMIT 5"
    rows = connection.execute(sql, {"q": vector_text(data.queries[0])}).fetchall()
    print(f"    query: a picture of: {CLASSES[data.query_labels[0]]}")
    for identifier, distance in rows:
        print(f"    image {identifier:>5}  distance {distance:8.1f}  {CLASSES[data.labels[identifier]]}")


def print_next_steps(cluster: Cluster, keep: bool) -> None:
    """Prints the SQL to go on with."""
    step("To go on with, in any database of yours")
    print("""    CREATE EXTENSION vectorgpu;
    CREATE TABLE items (id bigserial PRIMARY KEY, embedding vector(784));
    CREATE INDEX ON items USING ivf (embedding vector_l2_ops) WITH (lists = 245);
    SET vectorgpu.probes = 10;           -- more lists: better recall, slower
    SELECT id FROM items ORDER BY embedding <-> (SELECT embedding FROM items WHERE id = 1) LIMIT 10;
    SELECT * FROM vectorgpu.last_scan(); -- what ran, and where
    SET vectorgpu.model_dir = '...';     -- where your model files are
    SELECT vectorgpu.load_model('name', 'file.gguf');
    SELECT vectorgpu.generate('...');    -- and chat, embed, generate_many, generate_stream""")
    if keep:
        step("The server is still running, as asked")
        print(f"    psql '{cluster.dsn()}'\n    make demo-stop    # stops it and deletes its data")
    else:
        step("The server is stopped and its data deleted")
        note("'make demo KEEP=1' leaves it running and prints the psql command that connects to it")


def print_table(title: str, cursor: psycopg.Cursor) -> None:
    """Prints a small result."""
    step(title)
    names = [column.name for column in cursor.description]
    rows = [[str(value) for value in row] for row in cursor.fetchall()]
    if not rows:
        note("none")
        return
    widths = [max(len(cell) for cell in column) for column in zip(names, *rows, strict=True)]
    for row in [names, *rows]:
        note("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def timed(action) -> float:
    """Runs `action` and returns the seconds it took."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def step(text: str) -> None:
    """Prints a heading in the form of the shell scripts."""
    print(f"\n==> {text}", flush=True)


def note(text: str) -> None:
    """Prints a line under a heading."""
    print(f"    {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
