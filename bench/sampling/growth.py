"""How an image's time grows with the grid, channels, layers and batch, compared with the expected exponents.

Small priors without attention (one series with it), random weights, one level, drawn by LatentLoop and by running the
whole network for every code. Rows that were not drawn are extrapolated, as everywhere in the bench.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from latentloop.bench.baselines.implementation import TITLES
from latentloop.bench.baselines.registry import create
from latentloop.bench.baselines.timing import level_seconds
from latentloop.bench.figures.figure import Figure
from latentloop.bench.figures.fits import FEWEST, fit_exponent, worst_note
from latentloop.bench.figures.result_files import new_result
from latentloop.bench.figures.terms import caveats, definitions
from latentloop.bench.figures.text import duration, markdown_table
from latentloop.bench.machine.environment import environment
from latentloop.bench.workload.models import write_part
from latentloop.bench.workload.part import Part, TimedLevel
from latentloop.export.configuration import PriorConfig, VqvaeConfig
from latentloop.io.files import scratch_directory

ROUNDS = 3
TOLERANCE = 0.25  # exponents that differ by less count as equal
CODES = 128
VQVAE = VqvaeConfig(levels=1, bottom_stride=2, channels=8, residual_channels=4, code_channels=4, codebook_size=CODES)
BASE = PriorConfig(
    32, 32, codebook_size=CODES, channels=128, residual_channels=128, blocks=1, residual_blocks=4, attention=False
)


@dataclass(frozen=True)
class Series:
    """One growing quantity: its values, the prior for each, and the expected exponent with its reason."""

    name: str
    implementation: str
    values: tuple[int, ...]
    config: Callable[[int], PriorConfig]
    expected: float  # the limit for large values, when other costs no longer matter
    why: str
    batched: bool = False  # whether the value is the batch size
    unit: str = ""


def all_series(largest: int = 128) -> list[Series]:
    """Returns the series to measure; ``largest`` is the side of the largest grid."""
    sides = tuple(side for side in (4, 8, 16, 32, 64, 128) if min(16, largest // 2) <= side <= largest)
    attention = replace(BASE, attention=True, heads=4)

    def grid(base: PriorConfig) -> Callable[[int], PriorConfig]:
        return lambda side: replace(base, height=side, width=side)

    return [
        Series("grid", "float32", sides, grid(BASE), 2, "side²: one step per code", unit="side"),
        Series("grid, attention", "float32", sides, grid(attention), 4, "side⁴: attention to all codes", unit="side"),
        Series("grid, whole network", "naive", sides, grid(BASE), 4, "side⁴: one forward per code", unit="side"),
        Series(
            "channels", "float32", (64, 128, 256, 512), lambda n: replace(BASE, channels=n, residual_channels=n), 2,
            "matrices of channels²",
        ),
        Series("layers", "float32", (4, 8, 16, 32), lambda n: replace(BASE, residual_blocks=n), 1, "product per layer"),
        Series(
            "batch", "float32", (1, 4, 16, 64), lambda n: BASE, 1, "less while reading weights dominates",
            batched=True,
        ),
    ]  # fmt: skip


def measure(threads: int, largest: int = 128, budget: float = 4.0) -> dict[str, Any]:
    """Measures every series; returns plain JSON types. ``budget``: seconds of drawing per point."""
    torch.set_num_threads(threads)
    measured = []
    with scratch_directory() as folder:
        for number, series in enumerate(tqdm(all_series(largest), desc="growth", leave=False, disable=None)):
            measured.append(_measure_series(series, folder / str(number), threads, budget))
    return new_result("growth", environment(threads), base=_describe(BASE), series=measured)


def _measure_series(series: Series, folder: Path, threads: int, budget: float) -> dict[str, Any]:
    points: list[dict[str, Any]] = []
    for value in series.values:
        config = series.config(value)
        level = TimedLevel("top", config, config)
        part = write_part(Part(folder / str(value), VQVAE, (level,)))
        implementation = create(series.implementation, threads)
        implementation.load(part)
        batch, samples, notes = value if series.batched else 1, [], []
        for _ in range(ROUNDS):
            timing = implementation.time(level, batch, budget / ROUNDS)
            seconds, note = level_seconds(timing, config.height)
            samples.append(seconds)
            notes.append(note)
        points.append({"x": value, "seconds": Figure(tuple(samples), "s", worst_note(notes)).to_json()})
    return {
        "name": series.name,
        "peer": TITLES[series.implementation],
        "unit": series.unit or series.name,
        "expected": series.expected,
        "why": series.why,
        "points": points,
        **exponents(series.values, [point["seconds"]["median"] for point in points]),
    }


def exponents(x: Sequence[float], y: Sequence[float]) -> dict[str, Any]:
    """Returns the exponent fitted to all points, its residual, and the exponent between the last two.

    None for what needs more points: a fit needs three.
    """
    exponent, residual = fit_exponent(x, y) if len(x) >= FEWEST else (None, None)
    last = float(np.log(y[-1] / y[-2]) / np.log(x[-1] / x[-2])) if len(x) > 1 else None
    return {"exponent": exponent, "residual": residual, "last_exponent": last}


def table(result: dict[str, Any]) -> str:
    """Returns the series as Markdown: times, fitted and expected exponents."""
    env = result["environment"]
    heading = (
        f"One image of one level, {result['base']}, {env['threads']} threads, {env['processor']}, {env['date']}, "
        f"commit {env['commit']}:"
    )
    header = ["growing", "drawn by", "time by size", "fitted exponent", "residual", "of the two largest", "expected"]
    header += ["because", "verdict"]
    rows = []
    for series in result["series"]:
        times = "; ".join(_time(point) for point in series["points"])
        fitted = [_optional(series["exponent"], ".2f"), _optional(series["residual"], ".0%")]
        last, expected = _optional(series["last_exponent"], ".2f"), f"{series['expected']:g}"
        rows.append([series["name"], series["peer"], times, *fitted, last, expected, series["why"], _verdict(series)])
    table = markdown_table(header, rows)
    note = (
        f"Times are medians of {ROUNDS} rounds. *fitted exponent*: e of time ~ size^e through all points, the "
        f"*residual* the largest relative distance of a point from it. *verdict*: whether the exponent of the two "
        f"largest is within {TOLERANCE:g} of the expected one, or below it."
    )
    return "\n\n".join([heading, table, f"{note} {definitions(table)}"])


def _verdict(series: dict[str, Any]) -> str:
    """Compares the exponent of the two largest points with the expected one."""
    if series["last_exponent"] is None:
        return "too few sizes"
    if series["last_exponent"] > series["expected"] + TOLERANCE:
        return "grows faster than expected"
    reached = series["last_exponent"] >= series["expected"] - TOLERANCE
    return "as expected" if reached else "constant costs still matter"


def _time(point: dict[str, Any]) -> str:
    figure = Figure.from_json(point["seconds"])
    return f"{point['x']}: {duration(figure.median)}{caveats(figure)}"


def _optional(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _describe(c: PriorConfig) -> str:
    return (
        f"{c.height} × {c.width} codes of {c.codebook_size}, {c.channels} channels, {c.layers} layers, "
        f"{c.kernel} × {c.kernel} kernels, unless the series says otherwise"
    )
