"""The comparison of two results of one kind, figure by figure: better, worse, or within the spread."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from latentloop.bench.figures.figure import Figure
from latentloop.bench.figures.terms import caveats, definitions
from latentloop.bench.figures.text import markdown_table
from latentloop.errors import InputError

SHARE = "of 1"  # the unit of precision, recall and accuracy, which are better when larger
SAME = ("processor", "threads")  # of the environment: if these differ, a ratio says little about the code


def compare(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Returns rows of {name, unit, before, after, ratio, verdict} as plain JSON types.

    Raises InputError for results of different kinds or presets.
    """
    for field in ("kind", "preset"):
        if before.get(field) != after.get(field):
            raise InputError(
                f"the first result's {field} is {before.get(field)!r}, the second's {after.get(field)!r}: "
                f"compare two results of the same {field}"
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


def table(comparison: dict[str, Any]) -> str:
    """Returns the comparison as Markdown."""
    first, second = comparison["commits"]
    lines = [f"{comparison['what']}: commit {first} against {second}", ""]
    for name, (old, new) in comparison["differing"].items():
        lines += [f"Warning: {name} differs ({old} against {new}): ratios compare machines, not code.", ""]
    rows = []
    for row in comparison["rows"]:
        values = (f"{row[side]:.4g} {row['unit']}" for side in ("before", "after"))
        rows.append([row["name"], *values, f"{row['ratio']:.3f}", row["verdict"]])
    lines.append(markdown_table(["figure", "before", "after", "after / before", "verdict"], rows))
    for key, text in (("only_before", "in the first only"), ("only_after", "in the second only")):
        if comparison[key]:
            lines += ["", f"{text}: {', '.join(comparison[key])}"]
    legend = "*within the spread*: the change is smaller than the larger spread of the two. *same*: under 2 %."
    return "\n".join([*lines, "", f"{legend} {definitions(f'{legend} {lines}')}"])


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
    return {
        "name": name,
        "unit": old.unit,
        "before": old.median,
        "after": new.median,
        "ratio": ratio,
        "verdict": verdict + caveats(old, new),
    }


def _figures(result: dict[str, Any]) -> Iterator[tuple[str, Figure]]:
    """Yields every figure of a result with a name that is the same in all results of its kind."""
    kind = result["kind"]
    if kind == "sampling":
        for implementation in result["peers"].values():
            if implementation["available"]:
                yield from _of_implementation(implementation)
    elif kind == "growth":
        for series in result["series"]:
            for point in series["points"]:
                yield f"{series['name']} {point['x']}", Figure.from_json(point["seconds"])
    elif kind == "cold-start":
        yield "whole process", Figure.from_json(result["seconds"])
        for name, value in result["phases"].items():
            yield name, Figure.from_json(value)
    elif kind == "throughput":
        for entry in result["runs"]:
            name = f"{entry['precision']}, {entry['host']}, {entry['parallel']}, batch {entry['batch']}"
            yield name, Figure.from_json(entry["images_per_second"])
            yield f"{name}: memory", Figure.from_json(entry["memory"])
    elif kind == "embedding":
        for comparison in result["comparisons"]:
            yield from _of_hosts(comparison)
    elif kind == "quality":
        for level in result["levels"]:
            for precision, bits in level["bits_per_code"].items():
                yield f"{level['name']}: {precision}", Figure((bits,), "bits/code")
            yield f"{level['name']}: KL", Figure((level["kl_nats"],), "nats/code")
    elif kind == "samples":
        yield from _of_samples(result)
    elif kind == "diversity":
        yield from _of_curves(result)
    elif kind == "nearest":
        yield "machine: float32 GEMM", Figure.from_json(result["gemm"])
        for search in result["searches"]:
            for name, implementation in search["peers"].items():
                shape = f"N = {search['vectors']}, D = {search['dimensions']}, K = {search['codewords']}"
                yield f"{name}: {shape}", Figure.from_json(implementation["seconds"])
    if kind in ("sampling", "roofline"):
        yield from _of_machine(result if kind == "roofline" else result["roofline"])


def _of_implementation(implementation: dict[str, Any]) -> Iterator[tuple[str, Figure]]:
    name = implementation["name"]
    for batch, images in implementation["images"].items():
        yield f"{name}: batch {batch}", Figure.from_json(images["seconds"])
    yield f"{name}: first row", Figure.from_json(implementation["first_row_seconds"])
    yield f"{name}: load", Figure((implementation["load_seconds"],), "s")
    if implementation["peak_memory"].get("bytes"):
        yield f"{name}: peak memory", Figure((implementation["peak_memory"]["bytes"] / 2**20,), "MiB")
    for level, graphs in implementation["graphs"].items():
        for role, graph in graphs.items():
            yield f"{name}: {level} {role}", Figure((graph["ms"],), "ms")
    for direction, rates in implementation["codec"].items():
        for count, rate in rates.items():
            yield f"{name}: {direction}, {count} at once", Figure((rate,), "images/s")


def _of_hosts(comparison: dict[str, Any]) -> Iterator[tuple[str, Figure]]:
    for host, values in comparison["hosts"].items():
        for figure in ("image", "first_image", "process", "memory", "outside"):
            name = f"{comparison['preset']} {comparison['precision']}, {host}: {figure.replace('_', ' ')}"
            yield name, Figure.from_json(values[figure])


def _of_samples(result: dict[str, Any]) -> Iterator[tuple[str, Figure]]:
    yield "reconstruction: error", Figure((result["reconstruction"]["mse"],), "squared grey levels")
    for level in result["levels"]:
        yield f"{level['name']}: likelihood", Figure((level["bits_per_code"],), "bits/code")
    for images, likeness in (result["likeness"] or {}).items():
        yield f"{images}: Fréchet distance", Figure((likeness["frechet_distance"],), "")
        yield f"{images}: precision", Figure((likeness["precision"],), SHARE)
        yield f"{images}: recall", Figure((likeness["recall"],), SHARE)
    for images, recognition in (result["recognition"] or {}).items():
        yield f"{images}: accuracy", Figure((recognition["accuracy"],), SHARE)


def _of_curves(result: dict[str, Any]) -> Iterator[tuple[str, Figure]]:
    for curve in result["curves"]:
        for point in curve["points"]:
            name = f"{curve['setting'].replace('_', '-')} {point['value']:g}"
            yield f"{name}: Fréchet distance", Figure((point["frechet_distance"],), "")
            for figure in ("accuracy", "precision", "recall"):
                yield f"{name}: {figure}", Figure((point[figure],), SHARE)


def _of_machine(roofline: dict[str, Any]) -> Iterator[tuple[str, Figure]]:
    for kind, rates in roofline["gemm"].items():
        for library, rate in rates.items():
            if isinstance(rate, (int, float)):
                yield f"machine: {kind} GEMM, {library}", Figure((float(rate),), "Gop/s")
    for row in roofline["bandwidth"]:
        yield f"machine: read {row['bytes'] >> 20} MiB, {row['pages']} pages", Figure((row["gb_s"],), "GB/s")
