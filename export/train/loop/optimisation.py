"""How a network learns from its loss: AdamW at the rate of the step, and the average of the weights over the steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from latentloop.export.train.data.order import learning_rate
from latentloop.export.train.loop.average import WeightAverage
from latentloop.export.train.loop.optimiser import adamw, restore, set_rate


class Descent:
    """All that a step of training changes, but for codebooks: the network, its optimiser and its average."""

    def __init__(
        self,
        network: nn.Module,
        *,
        steps: int,
        rate: float,
        warm_up: int,
        weight_decay: float,
        average: float,
        clip: float | None = None,
    ) -> None:
        """``rate`` is reached after ``warm_up`` steps, a tenth of all at most; ``clip`` limits the gradient's norm."""
        self.network, self.steps, self.rate, self.clip = network, steps, rate, clip
        self.warm_up = min(warm_up, steps // 10)
        self.optimiser = adamw(network, rate, weight_decay)
        self.average = WeightAverage(network, average)

    def take(self, step: int, loss: Tensor) -> None:
        """Takes a step, counted from 0, down the gradient of its loss."""
        set_rate(self.optimiser, learning_rate(step, self.steps, self.rate, self.warm_up))
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        if self.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
        self.optimiser.step()
        self.average.update(step)

    def state(self) -> dict[str, Any]:
        """Network, optimiser and average, as a task's state holds them."""
        return {
            "model": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "averages": self.average.averages,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Takes over what ``state`` returned. Raises ValueError for what does not fit."""
        self.network.load_state_dict(state["model"])
        restore(self.optimiser, state["optimiser"])
        self.average.restore(state["averages"])
