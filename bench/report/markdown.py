"""A sampling result as Markdown, for the terminal and for the README."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from latentloop.bench.machine import roofline
from latentloop.bench.report.figures import Figure, duration, quantity


def report(result: dict[str, Any]) -> str:
    """Everything of a sampling result: peers, batches, steps, graphs against their bounds, the machine's peaks."""
    sections = [f"`{result['environment']['command']}`", heading(result), peers_table(result), *_notes(result)]
    sections += ["Images a second by batch size:", batches_table(result)]
    sections += ["Milliseconds a column:", steps_table(result)]
    sections += ["Graphs at the smallest batch, against their own bounds:", graphs_table(result)]
    sections += ["Codec, images a second:", codec_table(result)]
    sections += [bounds_text(result), roofline.table(result["roofline"])]
    return "\n\n".join(sections)


def heading(result: dict[str, Any]) -> str:
    """One sentence: what was measured, and on what."""
    env = result["environment"]
    weights = (
        "random weights" if result["random_weights"] else "its own weights (PyTorch: random ones of the same sizes)"
    )
    return (
        f"`{result['preset']}`, {result['parameters'] / 1e6:.3g} M parameters in the priors, {weights}, "
        f"{env['threads']} threads, {env['processor']}, PyTorch {env['torch']}, ONNX Runtime {env['onnxruntime']}, "
        f"{env['date']}, commit {env['commit']}:"
    )


def peers_table(result: dict[str, Any]) -> str:
    """A row per peer: seconds an image, the factor over the first peer, throughput, first row, memory, loading."""
    rows, first = [], None
    for peer in result["peers"].values():
        if not peer["available"]:
            rows.append([peer["name"], f"not available: {peer['reason']}", "", "", "", "", ""])
            continue
        smallest = next(iter(peer["images"].values()))
        figure = Figure.from_json(smallest["seconds"])
        seconds = 1 / smallest["images_per_second"]
        first = first or seconds
        best = peer["images"][str(peer["best_batch"])]["images_per_second"]
        peak = peer["peak_memory"].get("bytes")
        rows.append(
            [
                peer["name"],
                duration(seconds) + _marks(figure),
                _times(first / seconds),
                f"{best:.3g} (batch {peer['best_batch']})",
                duration(Figure.from_json(peer["first_row_seconds"]).median),
                f"{peak / 2**20:.0f} MiB" if peak else "not measured",
                duration(peer["load_seconds"]),
            ]
        )
    return markdown_table(["", "one image", "", "images/s, best batch", "first row", "peak memory", "load"], rows)


def batches_table(result: dict[str, Any]) -> str:
    """Images a second, peers by batch sizes."""
    peers = _available(result)
    batches = list(dict.fromkeys(batch for peer in peers for batch in peer["images"]))
    rows = []
    for peer in peers:
        cells = []
        for batch in batches:
            image = peer["images"].get(batch)
            cells.append(
                f"{image['images_per_second']:.3g}{_marks(Figure.from_json(image['seconds']))}" if image else ""
            )
        rows.append([peer["name"], *cells])
    return markdown_table(["", *(f"batch {batch}" for batch in batches)], rows)


def steps_table(result: dict[str, Any]) -> str:
    """Percentiles of a column's time, and the bytes of weights that a step reads."""
    rows = []
    for peer in _available(result):
        for level, by_batch in peer["steps"].items():
            for batch, step in by_batch.items():
                rows.append(
                    [
                        peer["name"],
                        level,
                        batch,
                        f"{step['p50_ms']:.3g}",
                        f"{step['p95_ms']:.3g}",
                        str(step["count"]),
                        str(step["columns_per_step"]),
                        quantity(step["weight_bytes"], "B"),
                    ]
                )
    return markdown_table(["", "level", "batch", "p50", "p95", "timed", "columns a step", "weights a step"], rows)


def graphs_table(result: dict[str, Any]) -> str:
    """Each graph's time, its bound, and what bounds it."""
    rows = []
    for peer in _available(result):
        for level, graphs in peer["graphs"].items():
            for role, graph in graphs.items():
                rows.append(
                    [
                        peer["name"],
                        f"{level} {role}",
                        f"{graph['ms']:.3g} ms",
                        f"{graph['bound_ms']:.3g} ms",
                        f"{graph['share']:.0%}",
                        graph["verdict"],
                    ]
                )
        smallest = next(iter(peer["images"].values()))
        rows.append(
            [peer["name"], "host", "", "", "", f"{smallest['host_share']:.1%} of an image is outside the graphs"]
        )
    return markdown_table(["", "graph", "time", "bound", "share", "what bounds it"], rows)


def codec_table(result: dict[str, Any]) -> str:
    """Images encoded and decoded a second, by images at once."""
    rows = []
    for peer in _available(result):
        for name, by_count in peer["codec"].items():
            cells = ", ".join(f"{rate:.3g} ({count} at once)" for count, rate in by_count.items())
            rows.append([peer["name"], name, cells])
    return markdown_table(["", "", "images/s"], rows)


def bounds_text(result: dict[str, Any]) -> str:
    """What one image's priors cost at least."""
    lines = []
    for name, bound in result["bounds"].items():
        what = "In the direct form" if name == "direct" else f"As LatentLoop does it in {name} (rows: {bound['form']})"
        flops, read = quantity(bound["flops"], "FLOP"), quantity(bound["weight_bytes"], "B")
        lines.append(
            f"{what}, an image's priors are {flops}, {duration(bound['arithmetic_seconds'])} at the best GEMM rate, "
            f"and read {read} of weights: {duration(bound['seconds'])} at least on this machine (batch 1)."
        )
    return "\n".join(lines)


def _times(factor: float) -> str:
    """A factor to three digits, without an exponent."""
    return f"{float(f'{factor:.3g}'):,.10g} ×"


def _notes(result: dict[str, Any]) -> Iterable[str]:
    """How figures were extrapolated, and which are unstable."""
    for peer in _available(result):
        smallest = Figure.from_json(next(iter(peer["images"].values()))["seconds"])
        text = f"{peer['name']}: {smallest.note()}"
        if peer["compile_seconds"]:
            text += f"; compiling took {duration(sum(peer['compile_seconds'].values()))}, not counted"
        if peer["difference"]:
            text += f"; logits differ by {peer['difference']:.1g} standard deviations from the first peer's"
        yield f"{text}. {peer['bound_by']}."


def _marks(figure: Figure) -> str:
    marks = [mark for mark, holds in (("extrapolated", figure.extrapolated), ("unstable", figure.unstable)) if holds]
    return f" ({', '.join(marks)})" if marks else ""


def _available(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [peer for peer in result["peers"].values() if peer["available"]]


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown of a header and rows of cells."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
