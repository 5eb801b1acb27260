"""Weight updates by gradient: AdamW at the learning rate of the step, then the average of the weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from latentloop.export.train.optimisation.adamw import adamw, restore_optimiser
from latentloop.export.train.optimisation.schedule import learning_rate
from latentloop.export.train.optimisation.weight_average import WeightAverage
from latentloop.export.train.options import TrainingOptions


class WeightUpdates:
    """A network with its optimiser and its weight average. Codebooks have updates of their own (``EmaCodebook``)."""

    def __init__(self, network: nn.Module, options: TrainingOptions, clip: float | None) -> None:
        """``clip`` limits the gradient's norm."""
        self.network, self.steps, self.rate, self.clip = network, options.steps, options.rate, clip
        self.warm_up = min(options.warm_up, options.steps // 10)
        self.optimiser = adamw(network, options.rate, options.weight_decay)
        self.average = WeightAverage(network, options.average)

    def apply(self, step: int, loss: Tensor) -> None:
        """Updates weights and average by the gradient of a step's loss; steps count from 0."""
        rate = learning_rate(step, self.steps, self.rate, self.warm_up)
        gradient_step(self.network, self.optimiser, loss, rate, self.clip)
        self.average.update(step)

    def state(self) -> dict[str, Any]:
        """Returns network, optimiser and average for the state file."""
        return {
            "model": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "averages": self.average.averages,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Loads what ``state`` returned. Raises KeyError, RuntimeError or ValueError if it does not fit."""
        self.network.load_state_dict(state["model"])
        restore_optimiser(self.optimiser, state["optimiser"])
        self.average.restore(state["averages"])


def gradient_step(
    network: nn.Module, optimiser: torch.optim.AdamW, loss: Tensor, rate: float, clip: float | None = None
) -> None:
    """Updates a network by the gradient of ``loss``; ``clip`` limits the gradient's norm."""
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    if clip is not None:
        torch.nn.utils.clip_grad_norm_(network.parameters(), clip)
    optimiser.step()
