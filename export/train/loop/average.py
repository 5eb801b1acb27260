"""The average of a network's weights over the steps of its training, which is what is evaluated and saved.

w' <- d w' + (1 - d) w takes out the noise that the last few batches leave in a single step's weights. d grows
as (1 + t) / (10 + t) until it reaches its value, so that the first, untrained weights do not linger.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class WeightAverage:
    """An exponential moving average over the parameters of a model."""

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        self.decay = decay
        self.parameters: list[Tensor] = list(model.parameters())
        self.averages = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes in the weights after a step, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.averages, self.parameters, 1 - decay)

    @torch.no_grad()
    def copy_to(self, model: torch.nn.Module) -> None:
        """Writes the average into a model of the same shape."""
        for parameter, average in zip(model.parameters(), self.averages, strict=True):
            parameter.copy_(average)

    @torch.no_grad()
    def restore(self, averages: Sequence[Tensor]) -> None:
        """Takes over the ``averages`` of a saved state."""
        for average, saved in zip(self.averages, averages, strict=True):
            copy_exactly(average, saved)


def copy_exactly(tensor: Tensor, saved: Tensor) -> None:
    """Writes a saved tensor into one of the same shape. Raises ValueError for another: ``copy_`` would repeat it."""
    if saved.shape != tensor.shape:
        raise ValueError(f"a tensor is {list(saved.shape)}, expected {list(tensor.shape)}")
    tensor.copy_(saved)
