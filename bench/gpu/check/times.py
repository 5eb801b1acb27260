"""How fast a sampler on a GPU draws: rows as they come, and whole images."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from latentloop.bench.gpu.check.part import Findings
from latentloop.bench.report.figures import whole
from latentloop.bundles.manifest import Level
from latentloop.draws.level_inputs import LevelInputs
from latentloop.draws.uniforms import uniforms
from latentloop.sampling.sampler import Sampler


def time_sampler(findings: Findings, sampler: Sampler, batch: int, budget: float, **values: Any) -> None:
    """Every level, and whole images where these fit into ``budget`` seconds; ``values`` go into every finding."""
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
        note = "; ".join(filter(None, (note, "a step's share of the row's graph and of the host included")))
        findings.timing("level", level=level.name, batch=batch, seconds=times, note=note, **values)
    if 5 * total > budget:
        return
    labels = {"labels": 0} if sampler.bundle.manifest.classes else {}
    timed: dict[int, float] = {}
    for count in (batch, batch, 2 * batch):  # the first settles what comes first; twice: decoded while more is drawn
        begin = time.perf_counter()
        sampler.sample(count, seeds=1, batch_size=batch, **labels)  # type: ignore[arg-type]
        timed[count] = time.perf_counter() - begin
    times = {"images": timed[batch], "two batches": timed[2 * batch]}
    findings.timing("images", batch=batch, seconds=times, a_second=2 * batch / timed[2 * batch], **values)


def _level(sampler: Sampler, level: Level, index: int, batch: int, budget: float) -> tuple[float, str]:
    """Seconds of the whole level, from its rows within the budget, and how they were extrapolated if they were."""
    prior = level.prior
    assert prior is not None
    upper = sampler.bundle.manifest.levels[index - 1]
    level_inputs = LevelInputs(
        uniform=uniforms(np.arange(batch, dtype=np.uint64), index, level.height, level.width),
        forced=np.full((level.height, level.width, batch), -1),
        temperature=np.ones(batch, np.float32),
        upper=np.zeros((batch, upper.height, upper.width), np.int64) if prior.condition_level else None,
        labels=np.zeros(batch, np.int64) if prior.classes else None,
    )
    _rows(sampler, level, level_inputs, budget)  # every row's work is captured where it is met first
    return whole(_rows(sampler, level, level_inputs, budget), level.height)


def _rows(sampler: Sampler, level: Level, level_inputs: LevelInputs, budget: float) -> dict[int, float]:
    """Seconds from each row to the next, of all rows or of those that fit into the budget."""
    taken: dict[int, float] = {}
    begin = started = time.perf_counter()
    rows = sampler.rows(level, level_inputs)
    for row in rows:
        now = time.perf_counter()
        taken[row.index] = now - begin
        begin = now
        if now - started > budget:
            break
    rows.close()  # type: ignore[attr-defined]  # an iterator, in fact a generator: it releases the sampler
    return taken
