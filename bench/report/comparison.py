"""Two results of one kind, figure by figure: what became faster, what slower, and what may be noise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from latentloop.bench.report.figures import Figure
from latentloop.errors import InputError

SHARE = "of 1"  # a unit of what is good: precision, accuracy
SAME = ("processor", "threads")  # of the environment: where these differ, a ratio says little about the code


def compare(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Rows of {name, unit, before, after, ratio, verdict} as plain JSON types.

    Raises InputError for results of different kinds or presets.
    """
    for field in ("kind", "preset"):
        if before.get(field) != after.get(field):
            raise InputError(
                f"the first result's {field} is {before.get(field)!r}, the second's {after.get(field)!r}: "
                "compare two of the same"
            )
    old, new = dict(_figures(before)), dict(_figures(after))
    rows = [_row(name, old[name], new[name]) for name in old if name in new]
    first, second = before["environment"], after["environment"]
    return {
        "what": before.get("preset") or before["kind"],
        "commits": [first["commit"], second["commit"]],
        "differing": {k: [first.get(k), second.get(k)] for k in SAME if first.get(k) != second.get(k)},
        "rows": rows,
        "only_before": [name for name in old if name not in new],
        "only_after": [name for name in new if name not in old],
    }


def table(found: dict[str, Any]) -> str:
    """The comparison as Markdown."""
    first, second = found["commits"]
    lines = [f"{found['what']}: commit {first} against {second}", ""]
    for name, (old, new) in found["differing"].items():
        lines += [f"Warning: {name} differs ({old} against {new}): ratios compare machines, not code.", ""]
    lines += ["| | before | after | after / before | |", "|---|---|---|---|---|"]
    for row in found["rows"]:
        values = f"{row['before']:.4g} {row['unit']} | {row['after']:.4g} {row['unit']} | {row['ratio']:.3f}"
        lines.append(f"| {row['name']} | {values} | {row['verdict']} |")
    for key, text in (("only_before", "in the first only"), ("only_after", "in the second only")):
        if found[key]:
            lines += ["", f"{text}: {', '.join(found[key])}"]
    return "\n".join(lines)


def _row(name: str, old: Figure, new: Figure) -> dict[str, Any]:
    ratio = new.median / old.median if old.median else float("inf")
    noise = max(old.spread or 0.0, new.spread or 0.0)
    better = ratio > 1 if old.unit.endswith(("/s", SHARE)) else ratio < 1
    if abs(ratio - 1) <= noise:
        verdict = "within the spread"
    elif abs(ratio - 1) < 0.02:
        verdict = "same"
    else:
        verdict = "better" if better else "worse"
    if old.unstable or new.unstable:
        verdict += ", unstable"
    return {
        "name": name,
        "unit": old.unit,
        "before": old.median,
        "after": new.median,
        "ratio": ratio,
        "verdict": verdict,
    }


def _figures(result: dict[str, Any]) -> Iterator[tuple[str, Figure]]:
    """Every figure of a result by a name that both results use."""
    kind = result["kind"]
    if kind == "sampling":
        for peer in result["peers"].values():
            if peer["available"]:
                yield from _of_peer(peer)
    elif kind == "growth":
        for series in result["series"]:
            for point in series["points"]:
                yield f"{series['name']} {point['x']}", Figure.from_json(point["seconds"])
    elif kind == "cold-start":
        yield "whole process", Figure.from_json(result["seconds"])
        for name, value in result["phases"].items():
            yield name, Figure.from_json(value)
    elif kind == "quality":
        for level in result["levels"]:
            for precision, bits in level["bits_per_code"].items():
                yield f"{level['name']}: {precision}", Figure((bits,), "bits/code")
            yield f"{level['name']}: KL", Figure((level["kl_nats"],), "nats/code")
    elif kind == "samples":
        yield from _of_samples(result)
    elif kind == "nearest":
        yield "machine: float32 GEMM", Figure.from_json(result["gemm"])
        for search in result["searches"]:
            for name, peer in search["peers"].items():
                shape = f"N = {search['vectors']}, D = {search['dimensions']}, K = {search['codewords']}"
                yield f"{name}: {shape}", Figure.from_json(peer["seconds"])
    if kind in ("sampling", "roofline"):
        yield from _of_machine(result if kind == "roofline" else result["roofline"])


def _of_peer(peer: dict[str, Any]) -> Iterator[tuple[str, Figure]]:
    name = peer["name"]
    for batch, image in peer["images"].items():
        yield f"{name}: batch {batch}", Figure.from_json(image["seconds"])
    yield f"{name}: first row", Figure.from_json(peer["first_row_seconds"])
    yield f"{name}: load", Figure((peer["load_seconds"],), "s")
    if peer["peak_memory"].get("bytes"):
        yield f"{name}: peak memory", Figure((peer["peak_memory"]["bytes"] / 2**20,), "MiB")
    for level, graphs in peer["graphs"].items():
        for role, graph in graphs.items():
            yield f"{name}: {level} {role}", Figure((graph["ms"],), "ms")
    for way, rates in peer["codec"].items():
        for count, rate in rates.items():
            yield f"{name}: {way}, {count} at once", Figure((rate,), "images/s")


def _of_samples(result: dict[str, Any]) -> Iterator[tuple[str, Figure]]:
    yield "reconstruction: error", Figure((result["reconstruction"]["mse"],), "squared grey levels")
    for level in result["levels"]:
        yield f"{level['name']}: likelihood", Figure((level["bits_per_code"],), "bits/code")
    for kind, of in (result["likeness"] or {}).items():
        yield f"{kind}: Fréchet distance", Figure((of["frechet_distance"],), "")
        yield f"{kind}: precision", Figure((of["precision"],), SHARE)
        yield f"{kind}: recall", Figure((of["recall"],), SHARE)
    for kind, of in (result["recognition"] or {}).items():
        yield f"{kind}: accuracy", Figure((of["accuracy"],), SHARE)


def _of_machine(roofline: dict[str, Any]) -> Iterator[tuple[str, Figure]]:
    for kind, rates in roofline["gemm"].items():
        for library, rate in rates.items():
            if isinstance(rate, (int, float)):
                yield f"machine: {kind} GEMM, {library}", Figure((float(rate),), "Gop/s")
    for row in roofline["bandwidth"]:
        yield f"machine: read {row['bytes'] >> 20} MiB, {row['pages']} pages", Figure((row["gb_s"],), "GB/s")
