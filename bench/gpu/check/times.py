"""Times of a sampler on a GPU: of single rows, and of whole images."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from latentloop import Sampler
from latentloop.bench.figures.fits import extrapolate_rows
from latentloop.bench.gpu.check.findings import Findings
from latentloop.bench.workload.level_runs import drawing, timed_rows
from latentloop.bundles.manifest import Level

BATCHES = (1, 16)


def time_sampler(findings: Findings, sampler: Sampler, batch: int, budget: float, **values: Any) -> None:
    """Times every level, and whole images if they fit into ``budget`` seconds; ``values`` are part of every finding."""
    total = 0.0
    levels = sampler.bundle.manifest.levels
    for index, level in enumerate(levels):
        if level.prior is None:
            continue
        seconds, note = _level(sampler, level, index, batch, budget / len(levels) / 3)
        total += seconds
        row = seconds / level.height
        steps = level.width // level.prior.columns_per_step
        times = {"step": row / steps, "row": row, "level": seconds}
        note = "; ".join(filter(None, (note, "a step includes its share of the row's graph and of the host")))
        findings.timing("level", level=level.name, batch=batch, seconds=times, note=note, **values)
    if 5 * total > budget:
        return
    labels = {"labels": 0} if sampler.bundle.manifest.classes else {}
    elapsed: dict[int, float] = {}
    for count in (batch, batch, 2 * batch):  # the first is a warm-up; of two batches, one is decoded during the other
        begin = time.perf_counter()
        sampler.sample(count, seeds=1, batch_size=batch, **labels)  # type: ignore[arg-type]
        elapsed[count] = time.perf_counter() - begin
    times = {"images": elapsed[batch], "two batches": elapsed[2 * batch]}
    findings.timing("images", batch=batch, seconds=times, a_second=2 * batch / elapsed[2 * batch], **values)


def _level(sampler: Sampler, level: Level, index: int, batch: int, budget: float) -> tuple[float, str]:
    """Returns the seconds of a whole level from the rows drawn within the budget, and a note on extrapolation."""
    prior = level.prior
    assert prior is not None
    upper = sampler.bundle.manifest.levels[index - 1]
    codes = np.zeros((batch, upper.height, upper.width), np.int64) if prior.condition_level else None
    labels = np.zeros(batch, np.int64) if prior.classes else None
    inputs = drawing((batch, level.height, level.width), index, codes, labels)
    captured = dict(timed_rows(sampler, level, inputs, budget))  # a row's work is captured when it is first drawn
    timed = {row: seconds for row, seconds in timed_rows(sampler, level, inputs, budget) if row in captured}
    return extrapolate_rows(timed, level.height)
