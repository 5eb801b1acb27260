"""How an image's time grows with the grid, channels, layers and batch, compared with the expected exponents.

Small priors without attention (one series with it), random weights, one level, drawn by LatentLoop and by running the
whole network for every code. Rows that were not drawn are extrapolated, as everywhere in the bench.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from latentloop.bench.baselines.implementation import TITLES
from latentloop.bench.baselines.registry import create
from latentloop.bench.baselines.timing import Scale, level_seconds
from latentloop.bench.figures.figure import Figure
from latentloop.bench.figures.fits import fit_exponent
from latentloop.bench.figures.result_files import new_result
from latentloop.bench.figures.text import markdown_table
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
        batch, samples, note = value if series.batched else 1, [], ""
        for _ in range(ROUNDS):
            timing = implementation.time(level, batch, budget / ROUNDS)
            seconds, note = level_seconds(timing, config.height, Scale())
            samples.append(seconds)
        points.append({"x": value, "seconds": Figure(tuple(samples), "s", note).to_json()})
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
    """Returns the exponent fitted to all points, its residual, and the exponent of the last two; None for one point."""
    if len(x) < 2:
        return {"exponent": None, "residual": None, "last_exponent": None}
    exponent, residual = fit_exponent(x, y)
    return {"exponent": exponent, "residual": residual, "last_exponent": fit_exponent(x[-2:], y[-2:])[0]}


def table(result: dict[str, Any]) -> str:
    """Returns the series as Markdown: times, fitted and expected exponents."""
    env = result["environment"]
    heading = (
        f"One image of one level, {result['base']}, {env['threads']} threads, {env['processor']}, {env['date']}, "
        f"commit {env['commit']}:"
    )
    header = ("growing", "drawn by", "times", "fitted exponent", "of the two largest", "expected", "because", "")
    rows = []
    for series in result["series"]:
        times = ", ".join(_time(point) for point in series["points"])
        fitted = "" if series["exponent"] is None else f"{series['exponent']:.2f}"
        last = "" if series["exponent"] is None else f"{series['last_exponent']:.2f}"
        expected = f"{series['expected']:g}"
        rows.append([series["name"], series["peer"], times, fitted, last, expected, series["why"], _verdict(series)])
    note = "~ extrapolated from the first rows, ! unstable (spread over 10 %)"
    return "\n\n".join([heading, markdown_table(header, rows), note])


def _verdict(series: dict[str, Any]) -> str:
    """Compares the exponent of the two largest points with the expected one."""
    if series["exponent"] is None:
        return ""
    if series["last_exponent"] > series["expected"] + TOLERANCE:
        return "grows faster than expected"
    reached = series["last_exponent"] >= series["expected"] - TOLERANCE
    return "as expected" if reached else "constant costs still matter"


def _time(point: dict[str, Any]) -> str:
    figure = Figure.from_json(point["seconds"])
    flags = ("~" if figure.extrapolated else "") + ("!" if figure.unstable else "")
    return f"{point['x']}: {figure.median:.3g} s{flags}"


def _describe(c: PriorConfig) -> str:
    return (
        f"{c.height} × {c.width} codes of {c.codebook_size}, {c.channels} channels, {c.layers} layers, "
        f"{c.kernel} × {c.kernel} kernels, unless the series says otherwise"
    )
