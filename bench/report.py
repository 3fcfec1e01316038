"""Writes a report of runs: `report.py FOLDER [RESULTS.jsonl ...]`.

The folder gets a README.md, an image of every run and one of growth, and a copy of each result file under its own name.
Without files, the report of those already in the folder is written anew.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from plot import draw_growth, draw_recall, label_colours
from results import ResultError, read_runs
from tables import RECALLS, document


def main() -> int:
    """Reads, draws and writes; exits with 2 on misuse and 1 where results are missing or incomplete."""
    if len(sys.argv) < 2:
        print("usage: report.py FOLDER [RESULTS.jsonl ...]", file=sys.stderr)
        return 2
    folder, files = Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]]
    try:
        write_report(folder, files or sorted(folder.glob("*.jsonl")))
    except ResultError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"report in {folder / 'README.md'}")
    return 0


def write_report(folder: Path, files: list[Path]) -> None:
    """Writes everything into `folder`.

    # Errors
    ResultError if there is no file, or one of them holds no complete run; nothing is then written.
    """
    runs = read_runs(files)
    if not runs:
        raise ResultError(f"no result files in {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    colours = label_colours(runs)
    for run in runs:
        copy = folder / f"{run.name}.jsonl"
        if run.path.resolve() != copy.resolve():
            shutil.copyfile(run.path, copy)
        draw_recall(folder / f"{run.name}.svg", [run], colours)
    draw_growth(folder / "growth.svg", runs, colours, RECALLS[0])
    (folder / "README.md").write_text(document(runs))


if __name__ == "__main__":
    sys.exit(main())
