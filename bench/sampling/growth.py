"""Cost against growth: how an image's time grows with the grid, channels, layers and batch, beside what to expect.

Small priors without attention (and a series with it), random weights, one level, drawn by LatentLoop and by
re-running the network for every code. Rows that are not drawn are extrapolated, as everywhere in this package.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from latentloop.bench.baselines.baseline import PEER_NAMES, Scale, level_seconds
from latentloop.bench.baselines.by_name import make_peer
from latentloop.bench.baselines.timed_calls import CallClock, timed_calls
from latentloop.bench.machine.environment import environment
from latentloop.bench.report.figures import Figure, fit_exponent
from latentloop.bench.report.result_files import result
from latentloop.bench.sampling.models import write_part
from latentloop.bench.sampling.parts import Part, TimedLevel
from latentloop.export.configuration import PriorConfig, VqvaeConfig
from latentloop.io.files import scratch_directory

ROUNDS = 3
NEAR = 0.25  # exponents that differ by less are called the same
CODES = 128
VQVAE = VqvaeConfig(levels=1, bottom_stride=2, channels=8, residual_channels=4, code_channels=4, codebook_size=CODES)
BASE = PriorConfig(
    32, 32, codebook_size=CODES, channels=128, residual_channels=128, blocks=1, residual_blocks=4, attention=False
)


@dataclass(frozen=True)
class Series:
    """One thing that grows: its values, the prior for each, the exponent to expect in the end, and why."""

    name: str
    peer: str
    values: tuple[int, ...]
    config: Callable[[int], PriorConfig]
    expected: float  # in the end, where nothing else counts
    why: str
    batched: bool = False  # whether the value is the batch size
    unit: str = ""


def all_series(largest: int = 128) -> list[Series]:
    """The series measured; ``largest`` is the side of the largest grid."""
    sides = tuple(side for side in (4, 8, 16, 32, 64, 128) if min(16, largest // 2) <= side <= largest)
    attention = replace(BASE, attention=True, heads=4)

    def grid(base: PriorConfig) -> Callable[[int], PriorConfig]:
        return lambda side: replace(base, height=side, width=side)

    return [
        Series("grid", "float32", sides, grid(BASE), 2, "side²: a step a code", unit="side"),
        Series("grid, attention", "float32", sides, grid(attention), 4, "side⁴: a code sees all earlier", unit="side"),
        Series("grid, whole network", "naive", sides, grid(BASE), 4, "side⁴: a code, a forward over all", unit="side"),
        Series(
            "channels", "float32", (64, 128, 256, 512), lambda n: replace(BASE, channels=n, residual_channels=n), 2,
            "matrices of channels²",
        ),
        Series("layers", "float32", (4, 8, 16, 32), lambda n: replace(BASE, residual_blocks=n), 1, "a product a layer"),
        Series(
            "batch", "float32", (1, 4, 16, 64), lambda n: BASE, 1, "under 1 while a batch shares read weights",
            batched=True,
        ),
    ]  # fmt: skip


def measure(threads: int, largest: int = 128, budget: float = 4.0) -> dict[str, Any]:
    """Every series as plain JSON types. ``budget`` is the seconds that one point may draw for."""
    torch.set_num_threads(threads)
    found = []
    with scratch_directory() as folder, timed_calls() as clock:
        for number, series in enumerate(tqdm(all_series(largest), desc="growth", leave=False, disable=None)):
            found.append(_measure_series(series, folder / str(number), clock, threads, budget))
    return result("growth", environment(threads), base=_describe(BASE), series=found)


def _measure_series(series: Series, folder: Path, clock: CallClock, threads: int, budget: float) -> dict[str, Any]:
    points: list[dict[str, Any]] = []
    for value in series.values:
        config = series.config(value)
        level = TimedLevel("top", config, config)
        part = write_part(Part(folder / str(value), VQVAE, (level,)))
        peer = make_peer(series.peer, threads, clock)
        peer.load(part)
        batch, samples, note = value if series.batched else 1, [], ""
        for _ in range(ROUNDS):
            timing = peer.time(level, batch, budget / ROUNDS)
            seconds, note = level_seconds(timing, config.height, Scale())
            samples.append(seconds)
        points.append({"x": value, "seconds": Figure(tuple(samples), "s", note).to_json()})
    return {
        "name": series.name,
        "peer": PEER_NAMES[series.peer],
        "unit": series.unit or series.name,
        "expected": series.expected,
        "why": series.why,
        "points": points,
        **exponents(series.values, [point["seconds"]["median"] for point in points]),
    }


def exponents(x: Sequence[float], y: Sequence[float]) -> dict[str, Any]:
    """The fitted exponent over all points with its residual, and that between the two largest; None for one point."""
    if len(x) < 2:
        return {"exponent": None, "residual": None, "last_exponent": None}
    exponent, residual = fit_exponent(x, y)
    return {"exponent": exponent, "residual": residual, "last_exponent": fit_exponent(x[-2:], y[-2:])[0]}


def table(found: dict[str, Any]) -> str:
    """The series as Markdown: times, fitted and expected exponents."""
    env = found["environment"]
    lines = [
        f"One image of one level, {found['base']}, {env['threads']} threads, {env['processor']}, {env['date']}, "
        f"commit {env['commit']}:",
        "",
        "| growing | drawn by | times | fitted exponent | between the two largest | in the end | | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for series in found["series"]:
        times = ", ".join(_time(point) for point in series["points"])
        fitted = "" if series["exponent"] is None else f"{series['exponent']:.2f}"
        last = "" if series["exponent"] is None else f"{series['last_exponent']:.2f}"
        cells = [series["name"], series["peer"], times, fitted, last, f"{series['expected']:g}", series["why"]]
        cells.append(_verdict(series))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", "~ extrapolated from the first rows, ! unstable (spread over 10 %)"])


def _verdict(series: dict[str, Any]) -> str:
    """What bounds the largest points, as their growth tells it."""
    if series["exponent"] is None:
        return ""
    if series["last_exponent"] > series["expected"] + NEAR:
        return "grows faster than expected"
    near = series["last_exponent"] >= series["expected"] - NEAR
    return "as expected" if near else "what does not grow with it still counts"


def _time(point: dict[str, Any]) -> str:
    figure = Figure.from_json(point["seconds"])
    marks = ("~" if figure.extrapolated else "") + ("!" if figure.unstable else "")
    return f"{point['x']}: {figure.median:.3g} s{marks}"


def _describe(c: PriorConfig) -> str:
    return (
        f"{c.height} × {c.width} codes of {c.codebook_size}, {c.channels} channels, {c.layers} layers, "
        f"{c.kernel} × {c.kernel} kernels where not said otherwise"
    )
