"""The peer that users have today: the whole network once more for every code, over the rows drawn so far.

This is how the common PyTorch implementation samples. An image takes an hour on a CPU, so a few positions are timed
and the rest extrapolated: the cost of a forward grows linearly with the rows that it sees.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from latentloop.export.models.pixelsnail import PixelSnail


@dataclass(frozen=True)
class NaiveTime:
    """Seconds of one forward by rows seen, and of the whole level by a linear fit through them."""

    timed: dict[int, float]
    level: float


def time_naive(model: PixelSnail, fractions: Sequence[float] = (0.0, 0.33, 0.67, 1.0), repeats: int = 2) -> NaiveTime:
    """Times forwards over the first rows of the grid, batch 1, and extrapolates to every position of the level."""
    c = model.config
    rng = np.random.default_rng(0)
    codes = torch.from_numpy(rng.integers(0, c.codebook_size, (1, c.height, c.width)))
    upper = torch.from_numpy(rng.integers(0, c.condition_codes, (1, *c.condition_grid))) if c.condition_codes else None
    labels = torch.zeros(1, dtype=torch.int64) if c.classes else None
    timed: dict[int, float] = {}
    with torch.inference_mode():
        condition = model.condition(upper) if model.condition is not None else None  # once per image, as users do
        for fraction in fractions:
            rows = max(1, round(fraction * c.height))
            taken = []
            for _ in range(repeats + 1):  # the first warms up
                begin = time.perf_counter()
                model.given(codes[:, :rows], condition, labels)
                taken.append(time.perf_counter() - begin)
            timed[rows] = float(np.median(taken[1:]))
    slope, intercept = np.polyfit(list(timed), list(timed.values()), 1)
    every_row = np.maximum(intercept + slope * np.arange(1, c.height + 1), min(timed.values()))
    return NaiveTime(timed, float(c.width * every_row.sum()))
