"""Plots of ``latentloop bench throughput``: a line per precision, host, and threads or processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from latentloop.bench.figures.figure import Figure
from latentloop.bench.report.axes import COLOURS, doubling

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STYLES = {"Python": "-", "C++": "--"}
MARKERS = "osD^vPX*"  # by threads and processes


def over_batches(name: str, label: str) -> Callable[[Axes, dict[str, Any]], None]:
    """Returns a function that draws a figure of the runs against the batch size; bars reach over the rounds."""

    def draw(axes: Axes, result: dict[str, Any]) -> None:
        lines: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
        for entry in result["runs"]:
            lines.setdefault((entry["precision"], entry["host"], entry["parallel"]), []).append(entry)
        ways = list(dict.fromkeys(parallel for _, _, parallel in lines))
        others = [precision for precision, _, _ in lines if precision not in COLOURS]
        colours = COLOURS | {precision: f"C{number + 4}" for number, precision in enumerate(dict.fromkeys(others))}
        for (precision, host, parallel), entries in lines.items():
            entries = sorted(entries, key=lambda entry: int(entry["batch"]))
            figures = [Figure.from_json(entry[name]) for entry in entries]
            below = [figure.median - min(figure.samples) for figure in figures]
            above = [max(figure.samples) - figure.median for figure in figures]
            axes.errorbar(
                [entry["batch"] for entry in entries],
                [figure.median for figure in figures],
                [below, above],
                color=colours[precision],
                linestyle=STYLES[host],
                marker=MARKERS[ways.index(parallel) % len(MARKERS)],
                markersize=5,
                linewidth=1.2,
                capsize=2,
                label=f"{precision}, {host}, {parallel}",
            )
        axes.set(xlabel="batch size", ylabel=label, title=f"{result['bundle']['name']}: {label}")
        axes.set_ylim(bottom=0)
        doubling(axes)
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))

    return draw
