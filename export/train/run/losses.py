"""The loss of a running training: its mean over the last steps, and whether the training diverges."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from latentloop.errors import InputError
from latentloop.export.train import distributed

LOSS_INTERVAL = 20  # steps between two readings of the loss: each reading waits for the device
GROWTH = 10  # times the lowest loss
PATIENCE = 100  # steps


class Losses:
    """The losses since the last reading, and ``mean``, the mean loss at that reading.

    A reading is high if it is over ``GROWTH`` times the lowest one and over the first one. A training diverges if a
    loss is not finite, or if every reading is high for ``PATIENCE`` steps, or the last one of the training. A VQ-VAE's
    loss also rises when quantisation starts, but it stays under the first one or falls again.
    """

    def __init__(self, remedy: Callable[[], str]) -> None:
        """``remedy`` returns how to avoid a divergence, for the error."""
        self.mean = math.nan
        self._remedy = remedy
        self._losses: list[Tensor] = []
        self._first: float | None = None
        self._lowest = math.inf
        self._high_since: int | None = None  # the step since which every reading is high

    def add(self, loss: Tensor) -> None:
        """Adds the loss of a step, a scalar."""
        self._losses.append(loss)

    @property
    def is_high(self) -> bool:
        """Whether the last reading was high: the training may diverge."""
        return self._high_since is not None

    def read(self, step: int, *, last: bool = False) -> None:
        """Updates ``mean`` after ``step`` steps, in all processes. Raises InputError if the training diverges."""
        if not self._losses:
            return
        self.mean = float(distributed.all_reduce(torch.stack(self._losses).mean())) / distributed.world_size()
        self._losses.clear()
        if not math.isfinite(self.mean):
            raise self._diverged(step)
        if self._first is None:
            self._first = self.mean
        self._lowest = min(self._lowest, self.mean)
        if self.mean <= max(self._first, GROWTH * self._lowest):
            self._high_since = None
            return
        if self._high_since is None:
            self._high_since = step
        if last or step - self._high_since >= PATIENCE:
            raise self._diverged(step)

    def check(self, step: int) -> None:
        """Raises InputError if a loss of this process since the last reading is not finite."""
        if self._losses and not bool(torch.stack(self._losses).isfinite().all()):
            self.mean = math.nan
            raise self._diverged(step)

    def _diverged(self, step: int) -> InputError:
        lowest = f", after {self._lowest:.4g}" if self._lowest < math.inf else ""
        return InputError(
            f"the loss is {self.mean:.4g} near step {step}{lowest}: the training diverges; {self._remedy()}"
        )
