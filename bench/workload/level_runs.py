"""Runs of a level's loop: the inputs that draw or force its codes, and the times of its rows."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from latentloop import Sampler
from latentloop.bench.figures.fits import enough_rows
from latentloop.bundles.manifest import Level
from latentloop.draws.level_inputs import LevelInputs
from latentloop.draws.uniforms import uniforms
from latentloop.sampling.sampler import runs_of

Codes = NDArray[np.int64]


def drawing(shape: tuple[int, int, int], index: int, upper: Codes | None, labels: Codes | None) -> LevelInputs:
    """Returns the inputs for codes [B, H, W] of level ``index``, drawn with the seeds 0 to B - 1 at temperature 1."""
    batch, height, width = shape
    inputs = LevelInputs.forcing(np.full(shape, -1), upper, labels)  # -1: the code is drawn
    return replace(inputs, uniform=uniforms(np.arange(batch, dtype=np.uint64), index, height, width))


def forcing(codes: Mapping[str, Codes], index: int, labels: Codes | None, part: slice = slice(None)) -> LevelInputs:
    """Returns the inputs that force the codes of level ``index``, for the images ``part``.

    ``codes``: by level [N, h, w], top first. ``labels``: [N].
    """
    levels = [values[part] for values in codes.values()]
    upper = levels[index - 1] if index else None
    return LevelInputs.forcing(levels[index], upper, None if labels is None else labels[part])


def timed_rows(sampler: Sampler, level: Level, inputs: LevelInputs, budget: float) -> Iterator[tuple[int, float]]:
    """Yields the index and the seconds of each row, in order, until ``enough_rows``.

    All rows are drawn if the level takes at most ``budget`` seconds. Otherwise these are the first rows, not rows
    spread over the grid: a row needs the state that all rows above it leave.
    """
    begin = started = time.perf_counter()
    rows = runs_of(sampler).rows(level, inputs)
    for row in rows:
        now = time.perf_counter()
        yield row.index, now - begin
        begin = time.perf_counter()
        if enough_rows(row.index + 1, level.height, begin - started, budget):
            break
    rows.close()  # which releases the sampler
