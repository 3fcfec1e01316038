"""Compares the next tokens of our models with llama.cpp's, place by place.

    cargo build --release -p vectorgpu-llm --example next_tokens
    python3 bench/llm_dequantise.py MODEL.gguf PLAIN.gguf
    python3 bench/llm_agreement.py MODEL.gguf --plain PLAIN.gguf

Four ways to compute one model are asked what follows each token of a text, whatever they said before (the text's
own token comes next): ours and llama.cpp's with the file as it is, where both round activations to bytes, and both
with the same weights as plain f32 numbers (PLAIN), where llama.cpp rounds nothing but keys and values. The last is
the measure for all: what llama.cpp itself loses against it by rounding is what rounding costs. Ours is also asked with
activations of 16 bits, which lose 250 times less. A place where two differ is said to be a near tie when the
measure's first two tokens differ by less than .1, or .2, nats.

Then prompts are continued greedily by llama.cpp, and ours is asked at each place of what it wrote: the first place
where it would have written another token is where the texts part. Then the same with plain weights there, 16 bits here.

Needs the packages of bench/requirements-llm.txt. The text is a chapter of Python's manual, which comes with Python.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics

import xllamacpp

NEAR_NATS = (0.1, 0.2)
PROMPTS = (
    "The capital of France is",
    "Water boils at",
    "Once upon a time, in a small village,",
    "def fibonacci(n):\n",
    "The three laws of motion are",
    "SELECT name FROM customers WHERE",
    "To make bread, you need",
    "My favourite season is autumn because",
    "The first man on the moon",
    "A database index is",
    "In the year 1969,",
    "Dear Sir or Madam,\n\n",
    "The quick brown fox",
    "Photosynthesis is the process by which",
    "Question: What is 7 times 8?\nAnswer:",
    "The stock market fell today after",
    "Shakespeare was born in",
    "An apple a day",
    "The main difference between a list and a tuple is",
    "Translate to German: Good morning.\n",
)


@dataclass(frozen=True)
class Place:
    """What may follow a token: the likeliest, and by how many nats it is likelier than the second."""

    token: int
    margin: float


class LlamaCpp:
    """llama.cpp with a model, in this process, asked through its own interface."""

    def __init__(self, path: Path, context: int, threads: int) -> None:
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(path)
        parameters.n_ctx, parameters.n_parallel = context, 1
        parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
        parameters.verbosity = 0
        self.server = xllamacpp.Server(parameters)

    def post(self, path: str, body: dict) -> dict:
        """Asks it."""
        request = urllib.request.Request(
            self.server.listening_address + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def tokens(self, text: str) -> list[int]:
        """The tokens of a text, with what every text begins with."""
        return self.post("/tokenize", {"content": text, "add_special": True, "parse_special": False})["tokens"]

    def written(self, tokens: list[int], count: int) -> list[tuple[int, Place]]:
        """The next `count` tokens, each with its place; fewer where the text ends.

        llama.cpp says nothing of a token that ends within a character; its margin is then not a number.
        """
        body = {"prompt": tokens, "n_predict": count, "n_probs": 2, "temperature": 0, "cache_prompt": True}
        answer = self.post("/completion", body | {"return_tokens": True})
        said = answer.get("completion_probabilities", [])
        written = []
        for token in answer["tokens"]:
            is_said = bool(said) and said[0]["id"] == token
            written.append((token, as_place(said.pop(0)["top_logprobs"]) if is_said else Place(token, math.nan)))
        return written

    def after_each(self, tokens: list[int]) -> list[Place]:
        """What follows each of `tokens`."""
        return [self.written(tokens[: end + 1], 1)[0][1] for end in range(len(tokens))]


def as_place(likeliest: list[dict]) -> Place:
    """The first two tokens as a place."""
    first, second = likeliest[:2]
    return Place(first["id"], first["logprob"] - second["logprob"])


def ours(program: Path, model: Path, texts: list[list[int]], how: str = "int8") -> list[list[Place]]:
    """What follows each token of each text by our engine: on the CPU with this type of activations, or on the GPU."""
    lines = "\n".join(" ".join(map(str, tokens)) for tokens in texts)
    run = subprocess.run([program, model, how], input=lines.encode(), capture_output=True, check=True)
    parts = run.stdout.decode().split("\n\n")[: len(texts)]
    pairs = [[line.split() for line in part.strip().splitlines()] for part in parts]
    return [[Place(int(token), float(margin)) for token, margin in part] for part in pairs]


def compare(name: str, places: list[Place], measure: list[Place]) -> None:
    """Prints at how many places both say the same token, and how near the others are."""
    apart = [right for left, right in zip(places, measure, strict=True) if left.token != right.token]
    near = [sum(place.margin < nats for place in apart) for nats in NEAR_NATS]
    widest = max((place.margin for place in apart), default=0.0)
    share = 100 * (1 - len(apart) / len(measure))
    print(
        f"{name:44} {len(measure) - len(apart)} of {len(measure)} ({share:.1f} %); of {len(apart)} others "
        + ", ".join(f"{count} below {nats} nats" for count, nats in zip(near, NEAR_NATS, strict=True))
        + f"; widest {widest:.2f}"
    )


def greedy(server: LlamaCpp, program: Path, model: Path, count: int, activations: str = "int8") -> None:
    """Prints where our greedy texts part from llama.cpp's."""
    prompts = [server.tokens(prompt) for prompt in PROMPTS]
    written = [server.written(prompt, count) for prompt in prompts]
    texts = [prompt + [token for token, _ in more] for prompt, more in zip(prompts, written, strict=True)]
    found = ours(program, model, texts, activations)
    same = 0
    for prompt, tokens, more, places in zip(PROMPTS, prompts, written, found, strict=True):
        of_prompt = places[len(tokens) - 1 : -1]
        pairs = enumerate(zip(of_prompt, more, strict=True))
        parts = [number for number, (left, (token, _)) in pairs if left.token != token]
        if not parts:
            same += 1
            continue
        margins = f"{more[parts[0]][1].margin:.3f} and {of_prompt[parts[0]].margin:.3f}"
        print(f"  {prompt!r}: other from token {parts[0]} of {len(more)}, where the first two are {margins} nats apart")
    print(f"greedy texts of up to {count} tokens, ours with {activations}: {same} of {len(PROMPTS)} alike")


def main() -> None:
    """Compares one model."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--plain", type=Path, help="the same model, written by llm_dequantise.py")
    parser.add_argument("--program", type=Path, default=Path("target/release/examples/next_tokens"))
    parser.add_argument("--topic", default="objects", choices=sorted(topics), metavar="TOPIC")
    parser.add_argument("--tokens", type=int, default=500)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--gpu", action="store_true", help="ours on a GPU, too, software Vulkan if there is no other")
    parser.add_argument("--greedy", type=int, default=64, help="tokens of the greedy texts; 0 for none")
    options = parser.parse_args()
    context = options.tokens + 64
    server = LlamaCpp(options.model, context, options.threads)
    tokens = server.tokens(topics[options.topic])[: options.tokens]
    theirs = server.after_each(tokens)
    (mine,) = ours(options.program, options.model, [tokens])
    print(f"{options.model.name}, {len(tokens)} tokens of the topic {options.topic}")
    compare("ours, llama.cpp", mine, theirs)
    if options.greedy:
        greedy(server, options.program, options.model, options.greedy)
    if options.gpu:
        (by_gpu,) = ours(options.program, options.model, [tokens], "gpu")
        compare("ours on the GPU, llama.cpp", by_gpu, theirs)
    if options.plain:
        # The model goes before the plain one comes: both would be many gigabytes.
        del server
        server = LlamaCpp(options.plain, context, options.threads)
        measure = server.after_each(tokens)
        (plain,) = ours(options.program, options.plain, [tokens])
        (fine,) = ours(options.program, options.model, [tokens], "int16")
        compare("ours, llama.cpp with f32 weights", mine, measure)
        compare("llama.cpp, llama.cpp with f32 weights", theirs, measure)
        compare("ours with int16, llama.cpp with f32 weights", fine, measure)
        compare("ours with f32 weights, llama.cpp with them", plain, measure)
        if options.gpu:
            compare("ours on the GPU, llama.cpp with f32 weights", by_gpu, measure)
        if options.greedy:
            greedy(server, options.program, options.model, options.greedy, "int16")


if __name__ == "__main__":
    main()
