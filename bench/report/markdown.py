"""A sampling result as Markdown, for the terminal and for the README."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from latentloop.bench.figures.figure import Figure
from latentloop.bench.figures.text import duration, markdown_table, quantity
from latentloop.bench.machine import roofline


def report(result: dict[str, Any]) -> str:
    """Returns all of a sampling result: implementations, batches, steps, graphs and their bounds, the machine."""
    sections = [f"`{result['environment']['command']}`", heading(result), implementations_table(result)]
    sections += _notes(result)
    sections += ["Images per second by batch size:", batches_table(result)]
    sections += ["Milliseconds per column:", steps_table(result)]
    sections += ["Graphs at the smallest batch, and their roofline bounds:", graphs_table(result)]
    sections += ["Codec, images per second:", codec_table(result)]
    sections += [bounds_text(result), roofline.table(result["roofline"])]
    return "\n\n".join(sections)


def heading(result: dict[str, Any]) -> str:
    """Returns one sentence on the model and the machine that were measured."""
    env = result["environment"]
    weights = (
        "random weights" if result["random_weights"] else "its own weights (PyTorch: random ones of the same sizes)"
    )
    return (
        f"`{result['preset']}`, {result['parameters'] / 1e6:.3g} M parameters in the priors, {weights}, "
        f"{env['threads']} threads, {env['processor']}, PyTorch {env['torch']}, ONNX Runtime {env['onnxruntime']}, "
        f"{env['date']}, commit {env['commit']}:"
    )


def implementations_table(result: dict[str, Any]) -> str:
    """Returns a row per implementation: seconds per image, speed-up over the first, throughput, memory, loading."""
    rows, first = [], None
    for implementation in result["peers"].values():
        if not implementation["available"]:
            rows.append([implementation["name"], f"not available: {implementation['reason']}", "", "", "", "", ""])
            continue
        images, best_batch = implementation["images"], implementation["best_batch"]
        smallest = next(iter(images.values()))
        seconds = 1 / smallest["images_per_second"]
        first = first or seconds
        peak = implementation["peak_memory"].get("bytes")
        rows.append(
            [
                implementation["name"],
                duration(seconds) + _caveats(Figure.from_json(smallest["seconds"])),
                _times(first / seconds),
                f"{images[str(best_batch)]['images_per_second']:.3g} (batch {best_batch})",
                duration(Figure.from_json(implementation["first_row_seconds"]).median),
                f"{peak / 2**20:.0f} MiB" if peak else "not measured",
                duration(implementation["load_seconds"]),
            ]
        )
    return markdown_table(["", "one image", "", "images/s, best batch", "first row", "peak memory", "load"], rows)


def batches_table(result: dict[str, Any]) -> str:
    """Returns images per second, implementations by batch sizes."""
    available = _available(result)
    batches = list(dict.fromkeys(batch for implementation in available for batch in implementation["images"]))
    rows = []
    for implementation in available:
        cells = []
        for batch in batches:
            images = implementation["images"].get(batch)
            cells.append(
                f"{images['images_per_second']:.3g}{_caveats(Figure.from_json(images['seconds']))}" if images else ""
            )
        rows.append([implementation["name"], *cells])
    return markdown_table(["", *(f"batch {batch}" for batch in batches)], rows)


def steps_table(result: dict[str, Any]) -> str:
    """Returns percentiles of a column's time, and the bytes of weights that a step reads."""
    rows = []
    for implementation in _available(result):
        for level, by_batch in implementation["steps"].items():
            for batch, step in by_batch.items():
                times = (f"{step[name]:.3g}" for name in ("p50_ms", "p95_ms"))
                counts = (str(step[name]) for name in ("count", "columns_per_step"))
                weights = quantity(step["weight_bytes"], "B")
                rows.append([implementation["name"], level, batch, *times, *counts, weights])
    return markdown_table(["", "level", "batch", "p50", "p95", "timed", "columns per step", "weights per step"], rows)


def graphs_table(result: dict[str, Any]) -> str:
    """Returns each graph's time, its roofline bound, and what bounds it."""
    rows = []
    for implementation in _available(result):
        for level, graphs in implementation["graphs"].items():
            for role, graph in graphs.items():
                times = (f"{graph[name]:.3g} ms" for name in ("ms", "bound_ms"))
                share, verdict = f"{graph['share']:.0%}", graph["verdict"]
                rows.append([implementation["name"], f"{level} {role}", *times, share, verdict])
        smallest = next(iter(implementation["images"].values()))
        host = f"{smallest['host_share']:.1%} of an image is outside the graphs"
        rows.append([implementation["name"], "host", "", "", "", host])
    return markdown_table(["", "graph", "time", "bound", "share", "what bounds it"], rows)


def codec_table(result: dict[str, Any]) -> str:
    """Returns images encoded and decoded per second, by the number of images at once."""
    rows = []
    for implementation in _available(result):
        for direction, by_count in implementation["codec"].items():
            cells = ", ".join(f"{rate:.3g} ({count} at once)" for count, rate in by_count.items())
            rows.append([implementation["name"], direction, cells])
    return markdown_table(["", "", "images/s"], rows)


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


def _times(factor: float) -> str:
    """Returns a factor to three digits, without an exponent."""
    return f"{float(f'{factor:.3g}'):,.10g} ×"


def _notes(result: dict[str, Any]) -> Iterable[str]:
    """Yields how figures were extrapolated, and which are unstable."""
    for implementation in _available(result):
        smallest = Figure.from_json(next(iter(implementation["images"].values()))["seconds"])
        text = f"{implementation['name']}: {smallest.note()}"
        if implementation["compile_seconds"]:
            text += f"; compiling took {duration(sum(implementation['compile_seconds'].values()))}, not included"
        if implementation["difference"]:
            text += f"; logits differ from the first row's by {implementation['difference']:.1g} standard deviations"
        yield f"{text}. {implementation['bound_by']}."


def _caveats(figure: Figure) -> str:
    caveats = [name for name, holds in (("extrapolated", figure.extrapolated), ("unstable", figure.unstable)) if holds]
    return f" ({', '.join(caveats)})" if caveats else ""


def _available(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [implementation for implementation in result["peers"].values() if implementation["available"]]
