"""A step as a pure function of (seed, step): the items of its batch, its random numbers, its learning rate.

Nothing here has a state, so a training that resumes at any step goes on as if it had never stopped.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from latentloop.errors import InputError


class BatchOrder:
    """Shuffled epochs one after the other, cut into batches: a batch may span the end of an epoch."""

    def __init__(self, count: int, batch: int, seed: int) -> None:
        if batch < 1:
            raise InputError(f"batch is {batch}, expected at least 1")
        self.count, self.batch, self.seed = count, batch, seed
        self._epoch = -1
        self._order: NDArray[np.int64] = np.empty(0, np.int64)

    def __call__(self, step: int) -> torch.Tensor:
        """Indices [batch] int64 of the items of a step."""
        first, last = step * self.batch, (step + 1) * self.batch
        parts = []
        while first < last:
            epoch, offset = divmod(first, self.count)
            taken = self._permutation(epoch)[offset : offset + last - first]
            parts.append(taken)
            first += len(taken)
        return torch.from_numpy(np.concatenate(parts))

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        if epoch != self._epoch:
            self._epoch, self._order = (
                epoch,
                np.random.default_rng((self.seed, epoch)).permutation(self.count),
            )
        return self._order


def step_seed(seed: int, step: int, purpose: int = 0, rank: int = 0) -> int:
    """A seed of 63 bits for one purpose of one step; the first of several processes draws what one alone would."""
    words = np.random.SeedSequence((seed, step, purpose, *([rank] if rank else []))).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))


def learning_rate(step: int, steps: int, peak: float, warm_up: int, floor: float = 0.05) -> float:
    """Linear up to ``peak`` over ``warm_up`` steps, then half a cosine down to ``floor`` times the peak."""
    if step < warm_up:
        return peak * (step + 1) / warm_up
    done = (step - warm_up) / max(1, steps - warm_up)
    return peak * (floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2)
