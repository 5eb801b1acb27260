"""The batch, the random seed and the learning rate of a step, as pure functions of the training's seed and the step.

Nothing here has a state, so a training that resumes at any step repeats what an uninterrupted one does.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from latentloop.errors import InputError


class BatchOrder:
    """Shuffled epochs one after the other, cut into batches; a batch can contain the end of one epoch and the start of
    the next.
    """

    def __init__(self, count: int, batch: int, seed: int) -> None:
        """``count`` items in batches of ``batch``. Raises InputError for an empty batch."""
        if batch < 1:
            raise InputError(f"batch is {batch}, expected at least 1")
        self.count, self.batch, self.seed = count, batch, seed

    def __call__(self, step: int) -> torch.Tensor:
        """Returns the item indices [batch] int64 of a step."""
        first, end = step * self.batch, (step + 1) * self.batch
        parts = []
        while first < end:
            epoch, offset = divmod(first, self.count)
            part = _permutation(self.count, self.seed, epoch)[offset : offset + end - first]
            parts.append(part)
            first += len(part)
        return torch.from_numpy(np.concatenate(parts))


@lru_cache(maxsize=1)
def _permutation(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, epoch)).permutation(count)


def step_seed(seed: int, step: int, purpose: int = 0, rank: int = 0) -> int:
    """Returns a 63-bit seed for one purpose of one step. Rank 0 gets the seed of a training with a single process."""
    words = np.random.SeedSequence((seed, step, purpose, *([rank] if rank else []))).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))


def learning_rate(step: int, steps: int, peak: float, warm_up: int, final: float = 0.05) -> float:
    """Returns the rate of a step: a linear rise to ``peak`` over ``warm_up`` steps, then half a cosine down to
    ``final`` times the peak.
    """
    if step < warm_up:
        return peak * (step + 1) / warm_up
    progress = (step - warm_up) / max(1, steps - warm_up)
    return peak * (final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2)
