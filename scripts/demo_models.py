"""The demo's second half: language models in SQL.

A text model answers; an embedding model turns the descriptions of the server's own settings into vectors, an index
takes them, and questions in plain words find settings.

Every figure is measured in this run. Models are fetched by models.py; what cannot be had is left out with one line.
"""

from __future__ import annotations

import time
from pathlib import Path

import psycopg

import models

QUESTIONS = (
    "How much memory may a sort use?",
    "Which port do clients connect to?",
    "Stop queries that run for too long",
)
SETTINGS_TABLE = """
    CREATE TABLE settings AS
    SELECT name, concat_ws(' ', short_desc, extra_desc) AS description FROM pg_settings
    WHERE name NOT LIKE 'vectorgpu.%'"""
EMBED = """
    ALTER TABLE settings ADD embedding vector(384);
    UPDATE settings AS s SET embedding = e.embedding
    FROM (SELECT unnest(array_agg(name ORDER BY name)) AS name,
                 unnest(vectorgpu.embed(array_agg(description ORDER BY name), 'minilm')) AS embedding
          FROM settings) AS e
    WHERE e.name = s.name"""
INDEX = "CREATE INDEX ON settings USING ivf (embedding vector_cosine_ops) WITH (lists = 8)"
NEAREST = """
    SELECT name, left(description, 60), round((embedding <=> vectorgpu.embed(%s, 'minilm'))::numeric, 3) AS distance
    FROM settings ORDER BY embedding <=> vectorgpu.embed(%s, 'minilm') LIMIT 3"""


def show_models(connection: psycopg.Connection, folder: Path) -> None:
    """Loads the models that can be had, and asks them."""
    print("\n==> Language models: fetching two small ones (some 180 MB, once)", flush=True)
    problems = {model: models.fetch(model, folder) for model in (models.SMOLLM2, models.MINILM)}
    for problem in filter(None, problems.values()):
        print(f"    skipped: {problem}")
    connection.execute(f"SET vectorgpu.model_dir = '{folder.resolve()}'")
    if problems[models.SMOLLM2] is None:
        show_text(connection)
    if problems[models.MINILM] is None:
        show_embeddings(connection)


def show_text(connection: psycopg.Connection) -> None:
    """A model that writes text."""
    # A model as small as this one shows what rounding costs: with int8 it says nonsense of France's capital.
    load(connection, "smollm2", models.SMOLLM2, '{"activations": "int16"}')
    for prompt in ("What is the capital of France?", "Name three animals that live in the sea."):
        query = "SELECT vectorgpu.generate(%s, 'smollm2', max_tokens => 48)"
        answer, seconds = timed(connection, query, [prompt])
        tokens = connection.execute("SELECT vectorgpu.count_tokens(%s, 'smollm2')", [answer]).fetchone()[0]
        print(f"    SELECT vectorgpu.generate('{prompt}');  -- {tokens} tokens in {seconds:.1f} s")
        for line in answer.strip().splitlines():
            print(f"        {line}")


def show_embeddings(connection: psycopg.Connection) -> None:
    """A model that makes vectors, an index over them, and a search by meaning."""
    load(connection, "minilm", models.MINILM)
    connection.execute(SETTINGS_TABLE)
    started = time.monotonic()
    connection.execute(EMBED)
    seconds = time.monotonic() - started
    rows = connection.execute("SELECT count(*) FROM settings").fetchone()[0]
    print(f"    the descriptions of the server's {rows} settings became vectors in {seconds:.1f} s", flush=True)
    connection.execute(INDEX)
    connection.execute("SET vectorgpu.probes = 4")
    connection.execute("SET enable_seqscan = off")
    for question in QUESTIONS:
        print(f"    nearest to '{question}':")
        for name, description, distance in connection.execute(NEAREST, [question, question]):
            print(f"        {name:<34} {distance}  {description}")
    connection.execute("RESET enable_seqscan")
    connection.execute("RESET vectorgpu.probes")


def load(connection: psycopg.Connection, name: str, model: models.Model, options: str = "{}") -> None:
    """Loads a model and says what it is."""
    _, seconds = timed(connection, "SELECT vectorgpu.load_model(%s, %s, %s)", [name, model.path, options])
    query = "SELECT architecture, parameters, pg_size_pretty(bytes), device FROM vectorgpu.models WHERE name = %s"
    architecture, parameters, size, device = connection.execute(query, [name]).fetchone()
    shown = "" if options == "{}" else f", '{options}'"
    print(f"    SELECT vectorgpu.load_model('{name}', '{model.path}'{shown});  -- {seconds:.1f} s")
    print(f"    {name}: {architecture}, {parameters / 1e6:.0f} million parameters, {size}, on {device}", flush=True)


def timed(connection: psycopg.Connection, query: str, parameters: list[str]) -> tuple[object, float]:
    """The only value that a query returns, and how long it took."""
    started = time.monotonic()
    row = connection.execute(query, parameters).fetchone()
    return row[0], time.monotonic() - started
