"""The exponential moving average of a network's weights over the training steps. It is evaluated and saved.

w' <- d w' + (1 - d) w removes the noise that the last few batches leave in the weights of a single step. d grows as
(1 + t) / (10 + t) until it reaches its final value, so the untrained weights of the first steps soon have no influence.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class WeightAverage:
    """An exponential moving average of a model's parameters."""

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        self.decay = decay
        self.parameters: list[Tensor] = list(model.parameters())
        self.averages = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Adds the weights after a step, counted from 0, to the average."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.averages, self.parameters, 1 - decay)

    @torch.no_grad()
    def copy_to(self, model: torch.nn.Module) -> None:
        """Writes the average into a model with the same parameters."""
        for parameter, average in zip(model.parameters(), self.averages, strict=True):
            parameter.copy_(average)

    @torch.no_grad()
    def restore(self, averages: Sequence[Tensor]) -> None:
        """Loads the ``averages`` of a saved state. Raises ValueError if a shape differs."""
        for average, saved in zip(self.averages, averages, strict=True):
            copy_same_shape(average, saved)


def copy_same_shape(tensor: Tensor, saved: Tensor) -> None:
    """Copies ``saved`` into ``tensor``. Raises ValueError if the shapes differ: ``copy_`` alone would broadcast."""
    if saved.shape != tensor.shape:
        raise ValueError(f"a tensor is {list(saved.shape)}, expected {list(tensor.shape)}")
    tensor.copy_(saved)
