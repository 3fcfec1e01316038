"""Draws results of bench.py: `plot.py OUT.png RESULTS.jsonl ...` draws queries per second over recall.

Must not know how figures are chosen from results: results.py does that.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from results import ResultError, Run, read_runs

# Text as text and no chance: small files that change only with the figures.
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "vectorgpu"})

# Nearer to 1 than this, one missed row in hundreds of queries decides.
LEAST_MISSED = 0.0005
RECALL_TICKS = [0.2, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 1]
FAMILY_MARKERS = "osD^vP*X"


def draw_recall(out: Path, runs: list[Run], colours: dict[str, str]) -> None:
    """Writes queries per second over recall; up and to the right is better."""
    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for run in runs:
        for label in run.labels:
            lines = run.queries[label]
            places, qps = [place_of(line["recall"]) for line in lines], [line["qps"] for line in lines]
            name = label if len(runs) == 1 else f"{label}, {run.name}"
            axes.plot(places, qps, marker="o", markersize=4, label=name, color=colours.get(name))
            for line, point in zip(lines, zip(places, qps, strict=True), strict=True):
                axes.annotate(str(line["set"]), point, textcoords="offset points", xytext=(4, 4), fontsize=7)
    titles = {f"{run.machine['data']}, {run.machine['metric']}, k = {run.k}" for run in runs}
    axes.set(
        xlabel="recall", ylabel="queries per second, one connection", yscale="log", title="; ".join(sorted(titles))
    )
    lowest = min(line["recall"] for run in runs for lines in run.queries.values() for line in lines)
    ticks = [tick for tick in RECALL_TICKS if tick >= lowest]
    axes.set_xticks([place_of(tick) for tick in ticks], labels=[str(tick) for tick in ticks])
    axes.grid(True, which="both", alpha=0.3)
    axes.legend()
    save(figure, out)


def place_of(recall: float) -> float:
    """Where a recall stands on its axis: .9, .99 and .999 are equally far apart."""
    return -math.log10(max(1 - recall, LEAST_MISSED))


def draw_growth(out: Path, runs: list[Run], colours: dict[str, str], recall: float) -> None:
    """Writes build time, index size, memory of the build and queries per second over rows."""
    figure, axes = pyplot.subplots(2, 2, figsize=(11, 8), layout="constrained")
    panels: list[tuple[str, Callable[[Run, str], float | None]]] = [
        ("CREATE INDEX, seconds", lambda run, label: run.builds.get(label, {}).get("s")),
        ("index, MiB", lambda run, label: mebibytes(run.builds.get(label, {}).get("index_bytes"))),
        ("peak memory of the build, MiB", lambda run, label: mebibytes(run.build_bytes(label))),
        (f"queries per second at recall ≥ {recall}", lambda run, label: run.best_qps(label, recall)),
    ]
    for panel, (title, figure_of) in zip(axes.flat, panels, strict=True):
        has_figures = False
        for label in colours:
            points = [(run, figure_of(run, label)) for run in runs if label in run.labels]
            points = [(run, value) for run, value in points if value is not None]
            has_figures = has_figures or bool(points)
            draw_line(panel, label, colours[label], points, family_markers(runs))
        # An empty panel has no logarithmic scale.
        panel.set(title=title if has_figures else f"{title}: no figures", xlabel="rows")
        if not has_figures:
            continue
        panel.set(xscale="log", yscale="log")
        panel.set_xticks(sorted({run.rows for run in runs}), labels=tick_labels(runs), fontsize=7)
        panel.set_xticks([], minor=True)
        panel.grid(True, which="both", alpha=0.3)
    families = family_markers(runs)
    if len(families) > 1:
        for family, marker in families.items():
            axes.flat[0].plot([], [], marker, color="grey", label=family)
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
    save(figure, out)


def family_markers(runs: list[Run]) -> dict[str, str]:
    """One kind of marker for the runs that differ in nothing but rows."""
    families = dict.fromkeys(run.family for run in runs)
    return {family: FAMILY_MARKERS[i % len(FAMILY_MARKERS)] for i, family in enumerate(families)}


def draw_line(panel, label: str, colour: str, points: list[tuple[Run, float]], markers: dict[str, str]) -> None:
    """Draws a method's points. A line joins runs that differ in nothing but rows; if there are none, a dotted one shows
    that the data differ too."""
    panel.plot([], [], "-", color=colour, label=label)
    for run, value in points:
        panel.plot([run.rows], [value], markers[run.family], color=colour)
    families: dict[str, list[tuple[int, float]]] = {}
    for run, value in points:
        families.setdefault(run.family, []).append((run.rows, value))
    lines, style = [line for line in families.values() if len(line) > 1], "-"
    if not lines:
        lines, style = [[(run.rows, value) for run, value in points]], ":"
    for line in lines:
        panel.plot([rows for rows, _ in line], [value for _, value in line], style, color=colour)


def tick_labels(runs: list[Run]) -> list[str]:
    """The rows, and which data sets have so many."""
    return [
        "\n".join([f"{rows:,}", *(f"{run.name}, {run.dims} dims" for run in runs if run.rows == rows)])
        for rows in sorted({run.rows for run in runs})
    ]


def mebibytes(value: int | None) -> float | None:
    """Bytes in MiB."""
    return value and value / (1 << 20)


def label_colours(runs: list[Run]) -> dict[str, str]:
    """One colour for each method, the same in all figures of a report."""
    labels = dict.fromkeys(label for run in runs for label in run.labels)
    return {label: f"C{i % 10}" for i, label in enumerate(labels)}


def save(figure, out: Path) -> None:
    """Writes an image in the format that its name says."""
    figure.savefig(out, dpi=150, metadata={"Date": None} if out.suffix == ".svg" else None)
    pyplot.close(figure)


def main() -> int:
    """Reads, draws, and says where the image is; exits with 2 on misuse and 1 where there is nothing to draw."""
    if len(sys.argv) < 3:
        print("usage: plot.py OUT.png RESULTS.jsonl ...", file=sys.stderr)
        return 2
    out = Path(sys.argv[1])
    try:
        runs = read_runs([Path(name) for name in sys.argv[2:]])
    except ResultError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    draw_recall(out, runs, label_colours(runs))
    print(f"plot in {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
