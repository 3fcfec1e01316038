"""Runs our tokenizer over the vocabulary tests that llama.cpp publishes, and says how many it passes.

They are files of vocabularies (ggml-vocab-NAME.gguf) with texts (.inp) and the tokens that they are (.out), in the
source package of llama-cpp-python, which this script fetches by its name, or takes from --tests. A vocabulary whose
tokenizer is not supported is named and not counted. When the package cannot be had, the script says so and ends
with 77.

    cargo build --release -p vectorgpu-llm --example tokens
    python3 bench/llm_vocabularies.py [--tests FOLDER] [--tokens target/release/examples/tokens]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "llama-cpp-python==0.3.36"
# What its build asks for before pip hands the package out.
BUILD_TOOLS = ["scikit-build-core", "cmake", "ninja"]
SEPARATOR = "\n__ggml_vocab_test__\n"
SKIPPED = 77


def fetch(folder: Path) -> Path:
    """Fetches the package into `folder`, with tools of its build beside it, and unpacks the tests."""
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    pip = [venv / "bin/python", "-m", "pip"]
    subprocess.run([*pip, "install", "--quiet", *BUILD_TOOLS], check=True)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-binary", ":all:", "--dest", folder]
    path = {"PATH": f"{venv}/bin:/usr/bin:/bin"}
    subprocess.run([*pip, "download", *options, PACKAGE], check=True, env=path)
    (archive,) = folder.glob("llama_cpp_python-*.tar.gz")
    with tarfile.open(archive) as package:
        members = [member for member in package.getmembers() if "/models/ggml-vocab-" in member.name]
        package.extractall(folder, members=members, filter="data")
    return folder


def cases(vocabulary: Path) -> list[tuple[str, list[int]]]:
    """Reads the texts of a vocabulary and the tokens that each is; an empty last text has no separator behind it."""
    texts = vocabulary.with_name(vocabulary.name + ".inp").read_bytes().decode().split(SEPARATOR)
    lines = vocabulary.with_name(vocabulary.name + ".out").read_text().splitlines()
    expected = [[int(token) for token in line.split()] for line in lines]
    return list(zip(texts, expected, strict=False))


def encode(program: Path, vocabulary: Path, texts: list[str]) -> list[list[int]] | str:
    """The tokens of each text; the program's complaint where it refuses the vocabulary."""
    run = subprocess.run([program, vocabulary], input="\0".join(texts).encode(), capture_output=True)
    if run.returncode != 0:
        return run.stderr.decode().strip()
    return [json.loads(line) for line in run.stdout.decode().splitlines()]


def main() -> int:
    """Prints a line for each vocabulary and one for all; exits with 1 if a test fails."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--tests", type=Path, help="a folder that has the files, at any depth")
    parser.add_argument("--tokens", type=Path, default=Path("target/release/examples/tokens"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        try:
            folder = options.tests or fetch(Path(temporary))
        except (subprocess.CalledProcessError, OSError) as error:
            print(f"SKIPPED: {PACKAGE} cannot be had: {error}", file=sys.stderr)
            return SKIPPED
        return check(options.tokens, sorted(folder.rglob("ggml-vocab-*.gguf")))


def check(program: Path, vocabularies: list[Path]) -> int:
    """Compares all of them."""
    passed = total = 0
    for vocabulary in vocabularies:
        if not vocabulary.with_name(vocabulary.name + ".inp").exists():
            continue
        tests = cases(vocabulary)
        found = encode(program, vocabulary, [text for text, _ in tests])
        if isinstance(found, str):
            print(f"{vocabulary.stem}: not supported ({found})")
            continue
        wrong = [(test, tokens) for test, tokens in zip(tests, found, strict=True) if test[1] != tokens]
        print(f"{vocabulary.stem}: {len(tests) - len(wrong)} of {len(tests)}")
        for (text, expected), tokens in wrong:
            print(f"  {text!r}\n    {tokens} instead of\n    {expected}")
        passed, total = passed + len(tests) - len(wrong), total + len(tests)
    print(f"passed {passed} of {total}")
    return 0 if passed == total > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
