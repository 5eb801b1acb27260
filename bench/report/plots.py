"""Results as PNG pictures. Needs the ``bench`` extra (matplotlib)."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentloop.bench.machine.roofline import Peaks
from latentloop.bench.report.figures import Figure, duration
from latentloop.environment.packages import require
from latentloop.io.files import write_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

COLOURS = {"naive": "#888888", "eager": "#d97b29", "compiled": "#b8442c", "float32": "#2b6ca3", "int8": "#2f8f5b"}
MARKERS = {"condition": "^", "row": "s", "step": "o", "forward": "D"}
SIZE = (8.0, 4.5)  # inches
DPI = 120


def write_plots(folder: Path, result: dict[str, Any]) -> list[Path]:
    """Writes the pictures of a result into a folder, replacing those of the same name; returns their paths.

    Raises MissingError without matplotlib, OutputError.
    """
    require("plots", "matplotlib", extra="bench")
    kinds: dict[str, dict[str, Callable[[Axes, dict[str, Any]], None]]] = {
        "sampling": {"images": _images, "batches": _batches, "roofline": _roofline, "bandwidth": _bandwidth},
        "growth": {series["name"]: _series_of(series) for series in result.get("series", ())},
        "cold-start": {"phases": _phases},
        "roofline": {"bandwidth": _bandwidth},
        "quality": {"bits": _bits},
        "samples": {"bits": _likelihood, **({"accuracy": _accuracy} if result.get("recognition") else {})},
        "nearest": {"times": _searches},
    }
    name = result.get("preset", result["kind"])
    written = []
    for picture, draw in kinds[result["kind"]].items():
        path = folder / f"{name}-{picture.replace(', ', '-').replace(' ', '-')}.png"
        _write(path, draw, result)
        written.append(path)
    return written


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
    """Seconds an image at the smallest batch, a bar per peer, and the priors' bound."""
    peers = {kind: peer for kind, peer in result["peers"].items() if peer["available"]}
    seconds = [1 / next(iter(peer["images"].values()))["images_per_second"] for peer in peers.values()]
    bars = axes.barh([_short(peer["name"]) for peer in peers.values()], seconds, color=[COLOURS[k] for k in peers])
    labels = []
    for peer, value in zip(peers.values(), seconds, strict=True):
        extrapolated = Figure.from_json(next(iter(peer["images"].values()))["seconds"]).extrapolated
        labels.append(f" {duration(value)}" + (" (extrapolated)" if extrapolated else ""))
    axes.bar_label(bars, labels, fontsize=9)
    for style, (name, bound) in zip(("--", ":"), result["bounds"].items(), strict=False):
        label = "bound, direct form" if name == "direct" else f"bound, as LatentLoop does it in {name}"
        axes.axvline(bound["seconds"], color="black", linestyle=style, linewidth=1, label=label)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(min(*seconds, *(b["seconds"] for b in result["bounds"].values())) / 2, max(seconds) * 12)
    axes.set_xlabel("seconds an image, batch 1 (logarithmic)")
    axes.set_title(f"{result['preset']}: one image")
    axes.legend(fontsize=8, loc="lower right")


def _batches(axes: Axes, result: dict[str, Any]) -> None:
    """Images a second against the batch size."""
    for kind, peer in result["peers"].items():
        if peer["available"]:
            sizes = [int(batch) for batch in peer["images"]]
            rates = [image["images_per_second"] for image in peer["images"].values()]
            axes.plot(sizes, rates, marker="o", color=COLOURS[kind], label=_short(peer["name"]).replace("\n", " "))
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.set_xlabel("batch")
    axes.set_ylabel("images a second")
    axes.set_title(f"{result['preset']}: throughput")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)


def _roofline(axes: Axes, result: dict[str, Any]) -> None:
    """Each graph's FLOP/s against its FLOPs per byte, under the roofs of arithmetic and of reading."""
    peaks = Peaks.of(result["roofline"])
    rates = {"largest cache-resident rate": max(rate for _, rate in peaks.bandwidth), "DRAM": peaks.bandwidth[-1][1]}
    points = []
    for kind, peer in result["peers"].items():
        for level, graphs in peer["graphs"].items() if peer["available"] else ():
            for role, graph in graphs.items():
                points.append(
                    (graph["flops"] / graph["read_bytes"], graph["flops"] / graph["ms"] * 1e3, kind, level, role)
                )
    left = min([0.1, *(point[0] / 2 for point in points)])
    right = max([1e3, *(point[0] * 2 for point in points)])
    for style, (name, rate) in zip(("-", "--"), rates.items(), strict=True):
        knee = peaks.flops / rate
        axes.plot(
            [left, knee, right], [left * rate, peaks.flops, peaks.flops], style, color="black", linewidth=1, label=name
        )
    seen = set()
    for intensity, speed, kind, level, role in points:
        label = None if (kind, role) in seen else f"{_short(result['peers'][kind]['name'], ' ')}: {role}"
        seen.add((kind, role))
        axes.plot(intensity, speed, MARKERS[role], color=COLOURS[kind], markersize=7, label=label, alpha=0.85)
        axes.annotate(level[:1], (intensity, speed), xytext=(5, -3), textcoords="offset points", fontsize=7)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("FLOPs per byte read")
    axes.set_ylabel("FLOP/s")
    axes.set_title(f"{result['preset']}: graphs under the roofline (letters: levels)")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))


def _bandwidth(axes: Axes, result: dict[str, Any]) -> None:
    """Read bandwidth against the working set, by kind of page."""
    rows = result.get("roofline", result)["bandwidth"]
    for pages, style in (("ordinary", "o-"), ("huge", "s-")):
        mine = [(row["bytes"] / 2**20, row["gb_s"]) for row in rows if row["pages"] == pages]
        axes.plot([x for x, _ in mine], [y for _, y in mine], style, label=f"{pages} pages")
    for level in result.get("levels", ()):
        for peer in result["peers"].values():
            if peer["available"] and peer["name"].startswith("LatentLoop"):
                for step in list(peer["steps"][level["name"]].values())[:1]:
                    axes.axvline(step["weight_bytes"] / 2**20, color="#888888", linewidth=1, linestyle=":")
                    axes.text(
                        step["weight_bytes"] / 2**20,
                        axes.get_ylim()[0],
                        f" {level['name']} step",
                        rotation=90,
                        fontsize=7,
                    )
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("working set, MiB")
    axes.set_ylabel("read bandwidth, GB/s")
    axes.set_title("Read bandwidth")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _series_of(series: dict[str, Any]) -> Callable[[Axes, dict[str, Any]], None]:
    """One growing thing: measured points, the fitted power and the expected one through the last point."""

    def draw(axes: Axes, result: dict[str, Any]) -> None:
        x = [point["x"] for point in series["points"]]
        y = [Figure.from_json(point["seconds"]).median for point in series["points"]]
        axes.plot(x, y, "o-", color=COLOURS["float32"], label="measured")
        expected = [y[-1] * (value / x[-1]) ** series["expected"] for value in x]
        axes.plot(x, expected, "--", color="black", linewidth=1, label=f"expected exponent {series['expected']:g}")
        fitted = "" if series["exponent"] is None else f", fitted exponent {series['exponent']:.2f}"
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.set_xticks(x)
        axes.set_xlabel(series["unit"])
        axes.set_ylabel("seconds a batch" if series["name"] == "batch" else "seconds an image")
        axes.set_title(f"{series['name']}{fitted}\n{series['peer']}", fontsize=11)
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize=8)

    return draw


def _phases(axes: Axes, result: dict[str, Any]) -> None:
    """One process as a bar of its phases."""
    total = Figure.from_json(result["seconds"]).median * 1e3
    phases = {name: Figure.from_json(value).median * 1e3 for name, value in result["phases"].items()}
    phases["options, progress, end"] = max(0.0, total - sum(phases.values()))
    left = 0.0
    for number, (name, value) in enumerate(phases.items()):
        axes.barh([0], [value], left=[left], color=f"C{number}", label=f"{name}, {value:.0f} ms")
        left += value
    axes.set_yticks([])
    axes.set_ylim(-1, 1)
    axes.set_xlabel("milliseconds")
    axes.set_title(f"latentloop sample -n 1: {total:.0f} ms")
    axes.legend(fontsize=8, ncols=2, loc="upper center")


def _bits(axes: Axes, result: dict[str, Any]) -> None:
    """Bits per code of each level, precisions side by side."""
    levels = result["levels"]
    for number, precision in enumerate(levels[0]["bits_per_code"]):
        places = [place + 0.4 * number for place in range(len(levels))]
        bits = [level["bits_per_code"][precision] for level in levels]
        bars = axes.bar(places, bits, 0.38, color=COLOURS[precision], label=precision)
        axes.bar_label(bars, fmt="%.3f", fontsize=8)
    names = [f"{level['name']}\n{level['relative_change']:+.2%}, KL {level['kl_nats']:.1g} nats" for level in levels]
    axes.set_xticks([place + 0.2 for place in range(len(levels))], names)
    axes.set_ylabel("bits per code")
    axes.set_title(f"{result['images']} images, {result['codes']}")
    axes.legend()


def _likelihood(axes: Axes, result: dict[str, Any]) -> None:
    """Bits per code of each level, beside what the codes would take were each as probable as it is frequent."""
    levels = result["levels"]
    for number, (name, colour) in enumerate((("by frequency alone", "naive"), ("by the prior", "float32"))):
        bits = [level["bits_per_code"] if number else math.log2(level["perplexity"]) for level in levels]
        bars = axes.bar([place + 0.4 * number for place in range(len(levels))], bits, 0.38, color=COLOURS[colour])
        bars.set_label(name)
        axes.bar_label(bars, fmt="%.3f", fontsize=8)
    names = [f"{level['name']}\n{level['codes_used']} of {level['codes']} codes used" for level in levels]
    axes.set_xticks([place + 0.2 for place in range(len(levels))], names)
    axes.set_ylabel("bits per code")
    axes.set_title(f"Codes of {result['images']} held-out images")
    axes.legend()


def _accuracy(axes: Axes, result: dict[str, Any]) -> None:
    """Each class's share that the classifier finds, a bar per kind of image."""
    recognition = result["recognition"]
    names = list(recognition["samples"]["classes"])
    for number, (kind, of) in enumerate(recognition.items()):
        places = [place + 0.8 * number / len(recognition) for place in range(len(names))]
        shares = [of["classes"][name] or 0.0 for name in names]
        label = f"{kind.replace('_', '-')}, {of['accuracy']:.1%} in all"
        axes.bar(places, shares, 0.75 / len(recognition), color=f"C{number}", label=label)
    axes.set_xticks([place + 0.3 for place in range(len(names))], names, fontsize=8)
    axes.set_ylabel("classified right")
    axes.set_ylim(0, 1.25)
    axes.set_title(f"{result['bundle']['name']}: what the classifier finds")
    axes.legend(fontsize=8, ncols=2)


def _searches(axes: Axes, result: dict[str, Any]) -> None:
    """Seconds of every search, a bar per peer."""
    searches = result["searches"]
    names = list(searches[0]["peers"])
    for number, name in enumerate(names):
        seconds = [Figure.from_json(search["peers"][name]["seconds"]).median for search in searches]
        places = [place + 0.8 * number / len(names) for place in range(len(searches))]
        bars = axes.bar(places, seconds, 0.75 / len(names), color=f"C{number}", label=name)
        axes.bar_label(bars, [duration(value) for value in seconds], fontsize=6, rotation=90, padding=2)
    labels = [f"N = {of['vectors']}\nK = {of['codewords']}, D = {of['dimensions']}" for of in searches]
    axes.set_xticks([place + 0.4 for place in range(len(searches))], labels)
    axes.set_yscale("log")
    axes.margins(y=0.2)
    axes.set_ylabel("seconds a search (logarithmic)")
    axes.set_title("The nearest codeword of each of N vectors")
    axes.legend(fontsize=7)


def _short(name: str, between: str = "\n") -> str:
    return name.replace(", ", f",{between}", 1)
