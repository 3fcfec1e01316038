"""Embeddings of BERT models by the book, in float64, and tokens of the library tokenizers: vectorgpu-llm against both.

    cargo build --release -p vectorgpu-llm --example embed
    python3 bench/llm_embeddings.py check FOLDER target/release/examples/embed
    python3 bench/llm_embeddings.py record > engine/llm/tests/data/tiny_bert.txt

"check" takes a folder with a model such as all-MiniLM-L6-v2 (safetensors, tokenizer.json, config.json), some hundred
texts whose tokens must be equal, and 50 sentences whose vectors must point the same way. "record" writes the vectors of
the small model of engine/llm/tests/bert.rs. Needs the Python packages numpy, safetensors and tokenizers.
"""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np

TEXT = """
the a this every old young river database index vector city small large runs reads writes finds loves
mountain engineer song slowly quickly green naïve café Zürich São Paulo Ångström 東京 データベース
向量 搜索 кошка база данных Ελλάδα मानक שלום مرحبا 한국어 😀 👩‍👩‍👧 ½ ﬁne İstanbul straße x² don't
e-mail 3.14 $5 100% foo_bar (maybe) «oui» … — ！
"""
WORDS = TEXT.split()
# Controls, spaces, marks, and what is no character.
SPECIAL = "\t\r\x00\x01\x7f\x85\u00ad\u200b\u200d\u2028\u3000\ufeff\ufffd\ue000\u0301\u0f0b\U000e0041\u0378"
SENTENCES = [
    "PostgreSQL stores rows in pages of eight kilobytes.",
    "A cat sat on the mat.",
    "Ein Hund lief über die Straße.",
    "La vie est belle, n'est-ce pas?",
    "機械学習は楽しい。",
    "How do I build an index on a column of vectors?",
    "The quick brown fox jumps over the lazy dog.",
    "x",
    "42 is the answer to everything, 3.14159 is not.",
    "Café, naïve, Ångström: accents should not matter.",
]


def all_sentences(count: int = 50) -> list[str]:
    """Sentences of several lengths, seeded."""
    choose = random.Random(5)
    made = [" ".join(choose.choices(WORDS, k=choose.randrange(3, 120))) for _ in range(count - len(SENTENCES))]
    return SENTENCES + made


def settled(choose: random.Random, first: int, last: int) -> str:
    """A character that is today what it was in 2002: the library's tables are older than vectorgpu's."""
    while True:
        character = chr(choose.randrange(first, last))
        if unicodedata.ucd_3_2_0.category(character) == unicodedata.category(character) != "Cn":
            return character


def all_texts(count: int = 600) -> list[str]:
    """Texts that are hard to cut into tokens, seeded."""
    choose = random.Random(11)
    texts = [
        "",
        " ",
        "a" * 100,
        "a" * 101,
        "é" * 100,
        "[CLS] [MASK] [UNK]",
        "##ing ing ##",
        "unaffable",
        "don't",
        "\x1f",
    ]
    while len(texts) < count:
        parts = []
        for _ in range(choose.randrange(1, 30)):
            kind = choose.randrange(6)
            if kind < 3:
                parts.append(choose.choice(WORDS))
            elif kind == 3:
                parts.append(choose.choice(SPECIAL))
            elif kind == 4:
                first, last = choose.choice([(0x20, 0x250), (0x250, 0x3400), (0xF900, 0xFFFE), (0x1D400, 0x1D7FF)])
                parts.append(settled(choose, first, last))
            else:
                parts.append("".join(chr(choose.randrange(0x61, 0x7B)) for _ in range(choose.randrange(1, 12))))
            parts.append(choose.choice(["", " ", "  ", "\n"]))
        texts.append("".join(parts))
    # What ends a line for the program must not be inside one.
    return [text.replace("\r", " ").replace("\\", "/") for text in texts]


def erf(x: np.ndarray) -> np.ndarray:
    """The error function."""
    return np.vectorize(math.erf)(x)


def norm(x: np.ndarray, weights: np.ndarray, bias: np.ndarray, epsilon: float) -> np.ndarray:
    """Layer normalisation of each row."""
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon) * weights + bias


def embed(tokens: list[int], tensors: dict[str, np.ndarray], config: dict) -> np.ndarray:
    """The vector of one text: mean of all tokens, of length 1."""
    heads, epsilon = config["num_attention_heads"], config["layer_norm_eps"]

    def tensor(name: str) -> np.ndarray:
        return tensors[name].astype(np.float64)

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ tensor(f"{name}.weight").T + tensor(f"{name}.bias")

    def normed(x: np.ndarray, name: str) -> np.ndarray:
        return norm(x, tensor(f"{name}.weight"), tensor(f"{name}.bias"), epsilon)

    x = tensor("embeddings.word_embeddings.weight")[tokens]
    x = x + tensor("embeddings.position_embeddings.weight")[: len(tokens)]
    x = normed(x + tensor("embeddings.token_type_embeddings.weight")[0], "embeddings.LayerNorm")
    for layer in range(config["num_hidden_layers"]):
        base = f"encoder.layer.{layer}"

        def by_head(name: str, x: np.ndarray = x, base: str = base) -> np.ndarray:
            projected = linear(x, f"{base}.attention.self.{name}")
            return projected.reshape(len(tokens), heads, -1).transpose(1, 0, 2)

        query, key, value = by_head("query"), by_head("key"), by_head("value")
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(query.shape[-1])
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        attended = (weights @ value).transpose(1, 0, 2).reshape(len(tokens), -1)
        x = normed(x + linear(attended, f"{base}.attention.output.dense"), f"{base}.attention.output.LayerNorm")
        inner = linear(x, f"{base}.intermediate.dense")
        inner = inner * 0.5 * (1 + erf(inner / math.sqrt(2)))
        x = normed(x + linear(inner, f"{base}.output.dense"), f"{base}.output.LayerNorm")
    mean = x.mean(0)
    return mean / np.linalg.norm(mean)


def run(command: list[str], texts: list[str]) -> list[list[float]]:
    """What the program prints for each text."""
    lines = "".join(text.replace("\n", "\\n") + "\n" for text in texts)
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    print(done.stderr.strip())
    return [json.loads(line) for line in done.stdout.split("\n") if line]


def check(folder: Path, program: str) -> int:
    """Compares the program with the reference; 0 if they agree."""
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    # A text never becomes a special token: the program has no other way.
    tokenizer.encode_special_tokens = True
    texts = all_texts()
    ours = run([program, str(folder), "2", "tokens"], texts)
    differing = 0
    for text, tokens in zip(texts, ours, strict=True):
        expected = tokenizer.encode(text).ids
        if tokens != expected:
            differing += 1
            print(f"{text!r}\n  {tokens}\n  {expected}")
    print(f"tokens: {len(texts)} texts, {differing} differ")
    config = json.loads((folder / "config.json").read_text())
    [file] = folder.glob("*.safetensors")
    tensors = load_file(str(file))
    limit = folder / "sentence_bert_config.json"
    most = json.loads(limit.read_text())["max_seq_length"] if limit.exists() else config["max_position_embeddings"]
    tokenizer.enable_truncation(most)
    sentences = all_sentences()
    vectors = np.array(run([program, str(folder)], sentences))
    expected = np.array([embed(tokenizer.encode(text).ids, tensors, config) for text in sentences])
    cosines = (vectors * expected).sum(-1) / np.linalg.norm(vectors, axis=-1)
    largest = np.abs(vectors - expected).max()
    print(f"vectors: {len(sentences)} sentences, least cosine {cosines.min():.9f}, largest difference {largest:.2e}")
    return 0 if differing == 0 and cosines.min() >= 0.9999 else 1


TINY = {
    "num_attention_heads": 4,
    "layer_norm_eps": 1e-12,
    "num_hidden_layers": 2,
    "hidden_size": 32,
    "intermediate_size": 64,
    "vocab_size": 24,
    "max_position_embeddings": 20,
    "type_vocab_size": 2,
}
TINY_TEXTS = [[1, 5, 6, 2], [1, 2], [1, 23, 7, 7, 8, 9, 10, 11, 12, 2], [1, *range(4, 22), 2]]


def tiny_tensors() -> dict[str, np.ndarray]:
    """The tensors of the small model, in the order of their names in tests/bert.rs."""
    width, inner = TINY["hidden_size"], TINY["intermediate_size"]
    shapes = {
        "embeddings.word_embeddings.weight": (TINY["vocab_size"], width),
        "embeddings.position_embeddings.weight": (TINY["max_position_embeddings"], width),
        "embeddings.token_type_embeddings.weight": (TINY["type_vocab_size"], width),
        "embeddings.LayerNorm.weight": (width,),
        "embeddings.LayerNorm.bias": (width,),
    }
    for layer in range(TINY["num_hidden_layers"]):
        base = f"encoder.layer.{layer}"
        for name, rows, columns in (
            ("attention.self.query", width, width),
            ("attention.self.key", width, width),
            ("attention.self.value", width, width),
            ("attention.output.dense", width, width),
            ("intermediate.dense", inner, width),
            ("output.dense", width, inner),
        ):
            shapes[f"{base}.{name}.weight"] = (rows, columns)
            shapes[f"{base}.{name}.bias"] = (rows,)
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes[f"{base}.{name}.weight"] = (width,)
            shapes[f"{base}.{name}.bias"] = (width,)
    tensors = {}
    for number, (name, shape) in enumerate(shapes.items()):
        places = np.arange(math.prod(shape), dtype=np.uint64)
        # 8 bits of a product: every number is exact in half precision.
        mixed = (places * np.uint64(2654435761) + np.uint64(number * 40503)) % np.uint64(1 << 32) >> np.uint64(24)
        spread = mixed.astype(np.float64) / 128 - 1
        tensors[name] = (1 + spread / 4 if name.endswith("LayerNorm.weight") else spread / 2).reshape(shape)
    return tensors


def record() -> None:
    """Writes tokens and vector of each text of the small model."""
    tensors = tiny_tensors()
    for tokens in TINY_TEXTS:
        vector = embed(tokens, tensors, TINY)
        print(" ".join(map(str, tokens)), "|", " ".join(f"{number:.9f}" for number in vector))


def main() -> int:
    """Runs the command line."""
    match sys.argv[1:]:
        case ["check", folder, program]:
            return check(Path(folder), program)
        case ["record"]:
            record()
            return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
