"""Draws queries per second over recall from result files of bench.py: `plot.py OUT.png RESULTS.jsonl ...`."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot


def read_queries(paths: list[Path]) -> tuple[str, dict[str, list[tuple[float, float, int]]]]:
    """Reads the (recall, queries/s, setting) points of every label, by setting, and a title."""
    points: dict[str, list[tuple[float, float, int]]] = defaultdict(list)
    titles = set()
    for path in paths:
        for line in path.read_text().splitlines():
            result = json.loads(line)
            if result["what"] == "query":
                points[result["label"]].append((result["recall"], result["qps"], result["set"]))
                titles.add(f"{result['data']}, {result['metric']}, k = {result['k']}")
    return "; ".join(sorted(titles)), points


def draw(out: Path, title: str, points: dict[str, list[tuple[float, float, int]]]) -> None:
    """Writes the plot; up and to the right is better."""
    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for label in sorted(points):
        line = sorted(points[label], key=lambda point: point[2])
        axes.plot([p[0] for p in line], [p[1] for p in line], marker="o", label=label)
        for recall, qps, setting in line:
            axes.annotate(str(setting), (recall, qps), textcoords="offset points", xytext=(4, 4), fontsize=7)
    axes.set(xlabel="recall", ylabel="queries per second, one connection", yscale="log", title=title)
    axes.grid(True, which="both", alpha=0.3)
    axes.legend()
    figure.savefig(out, dpi=150)


def main() -> int:
    """Reads, draws, and says where the image is; exits with 2 on misuse and 1 where there is nothing to draw."""
    if len(sys.argv) < 3:
        print("usage: plot.py OUT.png RESULTS.jsonl ...", file=sys.stderr)
        return 2
    out = Path(sys.argv[1])
    title, points = read_queries([Path(name) for name in sys.argv[2:]])
    if not points:
        print("error: no query results in the files", file=sys.stderr)
        return 1
    draw(out, title, points)
    print(f"plot in {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
