"""A sampling result as Markdown, for the terminal and for the README."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from latentloop.bench.figures.figure import Figure
from latentloop.bench.figures.terms import caveats, definitions
from latentloop.bench.figures.text import duration, markdown_table, quantity
from latentloop.bench.machine import roofline

BASELINES = {  # that others are compared with, and the heading of the comparison
    "naive": "faster than naive sampling",
    "eager": "faster than the same algorithm in PyTorch eager",
}


def report(result: dict[str, Any]) -> str:
    """Returns all of a sampling result: implementations, batches, steps, graphs and their bounds, the machine.

    The terms of every table are defined at the end.
    """
    sections = [f"`{result['environment']['command']}`", heading(result), implementations_table(result)]
    sections += _notes(result)
    sections += ["Images per second by batch size:", batches_table(result)]
    sections += ["Time per column of codes:", steps_table(result)]
    sections += ["Graphs at the smallest batch, and their roofline bounds:", graphs_table(result)]
    sections += ["Codec, images per second:", codec_table(result)]
    sections += [bounds_text(result), roofline.table(result["roofline"]), rounds_text(result)]
    text = "\n\n".join(sections)
    return f"{text}\n\n{definitions(text)}"


def heading(result: dict[str, Any]) -> str:
    """Returns one sentence on the model and the machine that were measured."""
    env = result["environment"]
    weights = (
        "random weights" if result["random_weights"] else "its own weights (PyTorch: random ones of the same sizes)"
    )
    return (
        f"`{result['preset']}`, {quantity(result['parameters'], '')} parameters in the priors, {weights}, "
        f"{env['threads']} threads, {env['processor']}, PyTorch {env['torch']}, ONNX Runtime {env['onnxruntime']}, "
        f"{env['date']}, commit {env['commit']}:"
    )


def implementations_table(result: dict[str, Any]) -> str:
    """Returns a row per implementation: seconds per image, speed-up over each baseline, throughput, memory, loading.

    The heading of a speed-up has the caveats of the baseline, a cell those that are its own.
    """
    peers = result["peers"]
    baselines = {
        name: _smallest(peers[name]) for name in BASELINES if peers.get(name, {"available": False})["available"]
    }
    header = ["implementation", "one image", *(BASELINES[name] + caveats(figure) for name, figure in baselines.items())]
    header += ["images/s, best batch", "first row", "peak memory", "load"]
    rows = []
    for name, implementation in peers.items():
        cells = [implementation["name"]]
        if implementation["available"]:
            image, first, best = (
                _smallest(implementation),
                _first_row(name, implementation),
                implementation["best_batch"],
            )
            cells += [duration(image.median) + caveats(image)]
            for other, baseline in baselines.items():
                faster = _faster(baseline.median / image.median) + caveats(image, known=baseline.caveats)
                cells.append("the baseline" if name == other else faster)
            cells += [_rate(implementation["images"][str(best)], f" at batch {best}")]
            cells += [duration(first.median) + caveats(first), _memory(implementation["peak_memory"])]
            cells += [duration(implementation["load_seconds"])]
        else:
            cells += [f"not available: {implementation['reason']}", *[""] * (len(header) - 2)]
        rows.append(cells)
    return markdown_table(header, rows)


def rounds_text(result: dict[str, Any]) -> str:
    """Returns of how many rounds times are medians."""
    rounds = result["settings"]["rounds"]
    return f"Times are medians of {rounds} rounds." if rounds > 1 else "Everything was timed once."


def batches_table(result: dict[str, Any]) -> str:
    """Returns images per second, implementations by batch sizes."""
    available = _available(result)
    batches = list(dict.fromkeys(batch for implementation in available for batch in implementation["images"]))
    rows = []
    for implementation in available:
        by_batch = implementation["images"]
        cells = (_rate(by_batch[batch]) if batch in by_batch else "" for batch in batches)
        rows.append([implementation["name"], *cells])
    return markdown_table(["implementation", *(f"batch {batch}" for batch in batches)], rows)


def steps_table(result: dict[str, Any]) -> str:
    """Returns percentiles of a column's time, and the bytes of weights that a step reads."""
    rows = []
    for implementation in _available(result):
        for level, by_batch in implementation["steps"].items():
            for batch, step in by_batch.items():
                scaled = "" if step["scaled"] == 1 else " (extrapolated)"
                times = (duration(step[name] / 1e3) + scaled for name in ("p50_ms", "p95_ms"))
                counts = (str(step[name]) for name in ("count", "columns_per_step"))
                weights = quantity(step["weight_bytes"], "B")
                rows.append([implementation["name"], level, batch, *times, *counts, weights])
    header = ["implementation", "level", "batch", "median", "95th percentile", "steps timed", "columns per step"]
    return markdown_table([*header, "weights per step"], rows)


def graphs_table(result: dict[str, Any]) -> str:
    """Returns each graph's time, its roofline bound, and what bounds it."""
    reduced = {level["name"] for level in result["levels"] if level["reduced"]}
    rows = []
    for implementation in _available(result):
        for level, graphs in implementation["graphs"].items():
            for role, graph in graphs.items():
                mark = " (fewer layers)" if level in reduced else ""
                times = (duration(graph[name] / 1e3) + mark for name in ("ms", "bound_ms"))
                share, verdict = f"{graph['share']:.0%}", graph["verdict"]
                rows.append([implementation["name"], f"{level} {role}", *times, share, verdict])
        smallest = next(iter(implementation["images"].values()))
        host = f"{smallest['host_share']:.1%} of an image is outside the graphs"
        rows.append([implementation["name"], "none: the program around them", "", "", "", host])
    header = ["implementation", "graph", "median time", "bound", "share of the bound reached", "what takes the time"]
    return markdown_table(header, rows)


def codec_table(result: dict[str, Any]) -> str:
    """Returns images encoded and decoded per second, by the number of images at once."""
    rows = []
    for implementation in _available(result):
        for direction, by_count in implementation["codec"].items():
            cells = ", ".join(f"{rate:.3g} ({count} at once)" for count, rate in by_count.items())
            rows.append([implementation["name"], direction, cells])
    return markdown_table(["implementation", "direction", "images/s"], rows)


def bounds_text(result: dict[str, Any]) -> str:
    """Returns the roofline bounds of one image's priors in sentences."""
    lines = []
    for name, bound in result["bounds"].items():
        method = "With direct convolutions" if name == "direct" else f"By LatentLoop in {name} (rows: {bound['form']})"
        flops, read = quantity(bound["flops"], "FLOP"), quantity(bound["weight_bytes"], "B")
        lines.append(
            f"{method}, an image's priors need {flops}, {duration(bound['arithmetic_seconds'])} at the best GEMM rate, "
            f"and read {read} of weights: at least {duration(bound['seconds'])} on this machine (batch 1)."
        )
    return "\n".join(lines)


def _faster(factor: float) -> str:
    """Returns a factor to three digits, without an exponent; "slower" for factors below 1."""
    if factor < 1:
        return f"{_faster(1 / factor)} slower"
    return f"{float(f'{factor:.3g}'):,.10g} ×"


def _rate(images: dict[str, Any], where: str = "") -> str:
    """Returns images per second, ``where`` and the caveats."""
    return f"{images['images_per_second']:.3g}{where}{caveats(Figure.from_json(images['seconds']))}"


def _smallest(implementation: dict[str, Any]) -> Figure:
    """Returns the seconds per image at the smallest batch."""
    batch, images = next(iter(implementation["images"].items()))
    figure = Figure.from_json(images["seconds"])
    return replace(figure, samples=tuple(seconds / int(batch) for seconds in figure.samples))


def _first_row(name: str, implementation: dict[str, Any]) -> Figure:
    figure = Figure.from_json(implementation["first_row_seconds"])
    if name == "naive" and _smallest(implementation).extrapolated and not figure.extrapolated:
        return replace(figure, extrapolated="one forward timed")  # which results before December 2026 did not say
    return figure


def _memory(peak: dict[str, Any]) -> str:
    if not peak.get("bytes"):
        return "not measured"
    return f"{peak['bytes'] / 2**20:.0f} MiB" + ("" if peak["without_loading"] else " (with loading)")


def _notes(result: dict[str, Any]) -> Iterable[str]:
    """Yields how figures were extrapolated, and which are unstable."""
    for implementation in _available(result):
        text = f"{implementation['name']}, smallest batch: {_smallest(implementation).note()}"
        if implementation["compile_seconds"]:
            text += f"; compiling took {duration(sum(implementation['compile_seconds'].values()))}, not included"
        if implementation["difference"]:
            text += f"; logits differ from the first one's by {implementation['difference']:.1g} standard deviations"
        yield f"{text}. {implementation['bound_by']}."


def _available(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [implementation for implementation in result["peers"].values() if implementation["available"]]
