"""Results as PNG plots. Needs the ``bench`` extra (matplotlib)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentloop.bench.figures.figure import Figure
from latentloop.bench.figures.terms import caveats
from latentloop.bench.figures.text import duration
from latentloop.bench.machine.peaks import Peaks
from latentloop.bench.report.axes import COLOURS, doubling
from latentloop.bench.report.diversity_plots import over
from latentloop.bench.report.throughput_plots import over_batches
from latentloop.environment.packages import require
from latentloop.io.files import write_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

MARKERS = {"condition": "^", "row": "s", "step": "o", "forward": "D"}
SIZE = (8.0, 4.5)  # inches
DPI = 120
HOLLOW = "hollow: extrapolated"


def write_plots(folder: Path, result: dict[str, Any]) -> list[Path]:
    """Writes the plots of a result into a folder, replacing files of the same name; returns their paths.

    Raises OutputError, and MissingError without matplotlib.
    """
    require("plots", "matplotlib", extra="bench")
    kinds: dict[str, dict[str, Callable[[Axes, dict[str, Any]], None]]] = {
        "sampling": {"images": _images, "batches": _batches, "roofline": _roofline, "bandwidth": _bandwidth},
        "throughput": {
            "images": over_batches("images_per_second", "images/s"),
            "memory": over_batches("memory", "resident memory, MiB"),
        },
        "growth": {series["name"]: _growth_of(series) for series in result.get("series", ())},
        "cold-start": {"phases": _phases},
        "embedding": {"images": _hosts("image"), "first-images": _hosts("first_image")},
        "roofline": {"bandwidth": _bandwidth},
        "quality": {"bits": _bits},
        "samples": {"bits": _likelihood, **({"accuracy": _accuracy} if result.get("recognition") else {})},
        "diversity": {"recall": over("recall", "precision"), "accuracy": over("accuracy", "frechet_distance")},
        "nearest": {"times": _searches},
    }
    name = result.get("preset", result["kind"])
    paths = []
    for plot, draw in kinds[result["kind"]].items():
        path = folder / f"{name}-{plot.replace(', ', '-').replace(' ', '-')}.png"
        _write(path, draw, result)
        paths.append(path)
    return paths


def _write(path: Path, draw: Callable[[Axes, dict[str, Any]], None], result: dict[str, Any]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    canvas: Canvas = Canvas(figsize=SIZE, dpi=DPI, layout="constrained")  # no pyplot: no global state, no display
    FigureCanvasAgg(canvas)
    axes = canvas.add_subplot()
    draw(axes, result)
    axes.spines[["top", "right"]].set_visible(False)
    env = result["environment"]
    canvas.supxlabel(
        f"{env['processor']}, {env['threads']} threads, {env['date']}, commit {env['commit']}",
        fontsize=7,
        color="#666666",
    )
    write_file(path, lambda temporary: canvas.savefig(temporary, format="png"), force=True)


def _images(axes: Axes, result: dict[str, Any]) -> None:
    """Draws seconds per image at the smallest batch, a bar per implementation, and the priors' roofline bound."""
    available = {name: entry for name, entry in result["peers"].items() if entry["available"]}
    smallest = [next(iter(entry["images"].values())) for entry in available.values()]
    seconds = [1 / images["images_per_second"] for images in smallest]
    titles = [_short(entry["name"]) for entry in available.values()]
    bars = axes.barh(titles, seconds, color=[COLOURS[name] for name in available])
    labels = []
    for images, value in zip(smallest, seconds, strict=True):
        labels.append(f" {duration(value)}{caveats(Figure.from_json(images['seconds']))}")
    axes.bar_label(bars, labels, fontsize=9)
    for style, (name, bound) in zip(("--", ":"), result["bounds"].items(), strict=False):
        label = "bound, direct convolutions" if name == "direct" else f"bound, LatentLoop in {name}"
        axes.axvline(bound["seconds"], color="black", linestyle=style, linewidth=1, label=label)
    axes.invert_yaxis()
    limits = min(*seconds, *(b["seconds"] for b in result["bounds"].values())) / 2, max(seconds) * 12
    label = "seconds per image, batch 1 (logarithmic)"
    axes.set(xscale="log", xlim=limits, xlabel=label, title=f"{result['preset']}: one image")
    axes.legend(fontsize=8, loc="lower right")


def _batches(axes: Axes, result: dict[str, Any]) -> None:
    """Draws images per second against the batch size."""
    for name, entry in result["peers"].items():
        if entry["available"]:
            sizes = [int(batch) for batch in entry["images"]]
            rates = [images["images_per_second"] for images in entry["images"].values()]
            figures = [Figure.from_json(images["seconds"]) for images in entry["images"].values()]
            axes.plot(sizes, rates, color=COLOURS[name], label=_short(entry["name"], " "))
            _points(axes, sizes, rates, figures, COLOURS[name])
    axes.set(yscale="log", xlabel="batch", ylabel="images per second", title=f"{result['preset']}: throughput")
    doubling(axes)


def _roofline(axes: Axes, result: dict[str, Any]) -> None:
    """Draws each graph's FLOP/s against its FLOPs per byte, and the rooflines of arithmetic and of reading."""
    peaks = Peaks.of(result["roofline"])
    rates = {"largest cache-resident rate": max(rate for _, rate in peaks.bandwidth), "DRAM": peaks.bandwidth[-1][1]}
    points = []
    for name, entry in result["peers"].items():
        for level, graphs in entry["graphs"].items() if entry["available"] else ():
            for role, graph in graphs.items():
                points.append(
                    (graph["flops"] / graph["read_bytes"], graph["flops"] / graph["ms"] * 1e3, name, level, role)
                )
    left = min([0.1, *(point[0] / 2 for point in points)])
    right = max([1e3, *(point[0] * 2 for point in points)])
    for style, (memory, rate) in zip(("-", "--"), rates.items(), strict=True):
        ridge = peaks.flops / rate
        roof = [left * rate, peaks.flops, peaks.flops]
        axes.plot([left, ridge, right], roof, style, color="black", linewidth=1, label=memory)
    labelled = set()
    for intensity, speed, name, level, role in points:
        label = None if (name, role) in labelled else f"{_short(result['peers'][name]['name'], ' ')}: {role}"
        labelled.add((name, role))
        axes.plot(intensity, speed, MARKERS[role], color=COLOURS[name], markersize=7, label=label, alpha=0.85)
        axes.annotate(level[:1], (intensity, speed), xytext=(5, -3), textcoords="offset points", fontsize=7)
    title = f"{result['preset']}: graphs under the roofline (letters: levels)"
    axes.set(xscale="log", yscale="log", xlabel="FLOPs per byte read", ylabel="FLOP/s", title=title)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))


def _bandwidth(axes: Axes, result: dict[str, Any]) -> None:
    """Draws read bandwidth against the working set, by kind of page, and the weight bytes of LatentLoop's steps."""
    rows = result.get("roofline", result)["bandwidth"]
    for pages, style in (("ordinary", "o-"), ("huge", "s-")):
        points = [(row["bytes"] / 2**20, row["gb_s"]) for row in rows if row["pages"] == pages]
        axes.plot([x for x, _ in points], [y for _, y in points], style, label=f"{pages} pages")
    for level in result.get("levels", ()):
        for entry in result["peers"].values():
            if entry["available"] and entry["name"].startswith("LatentLoop"):
                for step in list(entry["steps"][level["name"]].values())[:1]:
                    size, bottom = step["weight_bytes"] / 2**20, axes.get_ylim()[0]
                    axes.axvline(size, color="#888888", linewidth=1, linestyle=":")
                    axes.text(size, bottom, f" {level['name']} step", rotation=90, fontsize=7)
    axes.set(xlabel="working set, MiB", ylabel="read bandwidth, GB/s", title="Read bandwidth")
    axes.set_ylim(bottom=0)
    doubling(axes)


def _growth_of(series: dict[str, Any]) -> Callable[[Axes, dict[str, Any]], None]:
    """Returns the plot of one series: measured points, and the expected power law through the last point."""

    def draw(axes: Axes, result: dict[str, Any]) -> None:
        x = [point["x"] for point in series["points"]]
        figures = [Figure.from_json(point["seconds"]) for point in series["points"]]
        y = [figure.median for figure in figures]
        axes.plot(x, y, color=COLOURS["float32"], label="measured")
        _points(axes, x, y, figures, COLOURS["float32"])
        expected = [y[-1] * (value / x[-1]) ** series["expected"] for value in x]
        axes.plot(x, expected, "--", color="black", linewidth=1, label=f"expected exponent {series['expected']:g}")
        fitted = "" if series["exponent"] is None else f", fitted exponent {series['exponent']:.2f}"
        label = "seconds per batch" if series["name"] == "batch" else "seconds per image"
        axes.set(yscale="log", xlabel=series["unit"], ylabel=label)
        axes.set_title(f"{series['name']}{fitted}\n{series['peer']}", fontsize=11)
        doubling(axes)
        axes.set_xticks(x)

    return draw


def _phases(axes: Axes, result: dict[str, Any]) -> None:
    """Draws one process as a bar of its phases."""
    total = Figure.from_json(result["seconds"]).median * 1e3
    phases = {name: Figure.from_json(value).median * 1e3 for name, value in result["phases"].items()}
    phases["options, progress, end"] = max(0.0, total - sum(phases.values()))
    left = 0.0
    for number, (name, value) in enumerate(phases.items()):
        axes.barh([0], [value], left=[left], color=f"C{number}", label=f"{name}, {value:.0f} ms")
        left += value
    axes.set(yticks=[], ylim=(-1, 1), xlabel="milliseconds", title=f"latentloop sample -n 1: {total:.0f} ms")
    axes.legend(fontsize=8, ncols=2, loc="upper center")


def _hosts(name: str) -> Callable[[Axes, dict[str, Any]], None]:
    """Returns a function that draws a time of each host as a bar, on a logarithmic axis."""

    def draw(axes: Axes, result: dict[str, Any]) -> None:
        figures = {
            f"{comparison['preset']}, {comparison['precision']}: {host}": Figure.from_json(values[name])
            for comparison in result["comparisons"]
            for host, values in comparison["hosts"].items()
        }
        seconds = [figure.median for figure in figures.values()]
        colours = [f"C{number % 2}" for number in range(len(figures))]
        bars = axes.barh(list(figures), seconds, color=colours)
        labels = [f" {duration(figure.median)}{caveats(figure)}" for figure in figures.values()]
        axes.bar_label(bars, labels, fontsize=9)
        axes.invert_yaxis()
        limits = min(seconds) / 2, max(seconds) * 8
        title = "one image after the other" if name == "image" else "from the start of a process to its first image"
        axes.set(xscale="log", xlim=limits, xlabel="seconds (logarithmic)", title=title)

    return draw


def _bits(axes: Axes, result: dict[str, Any]) -> None:
    """Draws bits per code of each level, precisions side by side."""
    levels = result["levels"]
    for number, precision in enumerate(levels[0]["bits_per_code"]):
        _bits_bars(axes, number, [level["bits_per_code"][precision] for level in levels], precision, precision)
    names = [f"{level['name']}\n{level['relative_change']:+.2%}, KL {level['kl_nats']:.1g} nats" for level in levels]
    _label_levels(axes, names, f"{result['images']} images, {result['codes']}")


def _likelihood(axes: Axes, result: dict[str, Any]) -> None:
    """Draws bits per code of each level: by the codes' frequencies alone, and by the prior."""
    levels = result["levels"]
    _bits_bars(axes, 0, [math.log2(level["perplexity"]) for level in levels], "by frequency alone", "naive")
    _bits_bars(axes, 1, [level["bits_per_code"] for level in levels], "by the prior", "float32")
    names = [f"{level['name']}\n{level['codes_used']} of {level['codes']} codes used" for level in levels]
    _label_levels(axes, names, f"Codes of {result['images']} held-out images")


def _accuracy(axes: Axes, result: dict[str, Any]) -> None:
    """Draws each class's share of correct classifications, a bar per kind of image."""
    recognition = result["recognition"]
    names = list(recognition["samples"]["classes"])
    for number, (kind, scores) in enumerate(recognition.items()):
        shares = [scores["classes"][name] or 0.0 for name in names]
        label = f"{kind.replace('_', '-')}, {scores['accuracy']:.1%} in all"
        positions = _positions(names, 0.8 * number / len(recognition))
        axes.bar(positions, shares, 0.75 / len(recognition), color=f"C{number}", label=label)
    axes.set_xticks(_positions(names, 0.3), names, fontsize=8)
    title = f"{result['bundle']['name']}: accuracy of the classifier"
    axes.set(ylabel="classified correctly", ylim=(0, 1.25), title=title)
    axes.legend(fontsize=8, ncols=2)


def _searches(axes: Axes, result: dict[str, Any]) -> None:
    """Draws seconds of every search, a bar per implementation."""
    searches = result["searches"]
    names = list(searches[0]["peers"])
    for number, name in enumerate(names):
        seconds = [Figure.from_json(search["peers"][name]["seconds"]).median for search in searches]
        positions = _positions(searches, 0.8 * number / len(names))
        bars = axes.bar(positions, seconds, 0.75 / len(names), color=f"C{number}", label=name)
        axes.bar_label(bars, [duration(value) for value in seconds], fontsize=6, rotation=90, padding=2)
    labels = [f"N = {search['vectors']}\nK = {search['codewords']}, D = {search['dimensions']}" for search in searches]
    axes.set_xticks(_positions(searches, 0.4), labels)
    title = "The nearest codeword of each of N vectors"
    axes.set(yscale="log", ymargin=0.2, ylabel="seconds a search (logarithmic)", title=title)
    axes.legend(fontsize=7)


def _bits_bars(axes: Axes, number: int, bits: Sequence[float], label: str, colour: str) -> None:
    """Draws a bar per level, the first or the second of its group."""
    bars = axes.bar(_positions(bits, 0.4 * number), bits, 0.38, color=COLOURS[colour], label=label)
    axes.bar_label(bars, fmt="%.3f", fontsize=8)


def _label_levels(axes: Axes, names: Sequence[str], title: str) -> None:
    """Labels two bars of bits per code for each level."""
    axes.set_xticks(_positions(names, 0.2), names)
    axes.set(ylabel="bits per code", title=title)
    axes.legend()


def _points(axes: Axes, x: Sequence[float], y: Sequence[float], figures: Sequence[Figure], colour: str) -> None:
    """Draws a circle for each figure, hollow if it is extrapolated; the legend says so once."""
    for extrapolated in (False, True):
        points = [
            (a, b) for a, b, figure in zip(x, y, figures, strict=True) if bool(figure.extrapolated) == extrapolated
        ]
        if points:
            known = HOLLOW in axes.get_legend_handles_labels()[1]
            label, fill = (None, colour) if not extrapolated else (None if known else HOLLOW, "white")
            axes.plot(*zip(*points, strict=True), "o", color=colour, markerfacecolor=fill, label=label)


def _positions(groups: Sequence[object], offset: float) -> list[float]:
    """Returns one bar's position in each group of bars."""
    return [group + offset for group in range(len(groups))]


def _short(title: str, separator: str = "\n") -> str:
    return title.replace(", ", f",{separator}", 1)
