"""The parts of the benchmark that need no server: exact answers."""

from __future__ import annotations

import datasets
import numpy as np
import pytest


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
