"""The optimiser of every training: AdamW (arXiv 1711.05101)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def adamw(
    model: nn.Module, rate: float, weight_decay: float, betas: tuple[float, float] = (0.9, 0.999)
) -> torch.optim.AdamW:
    """AdamW whose decay reaches matrices and kernels only: biases and embeddings have no scale to keep small."""
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    decayed: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for parameter in model.parameters():
        (decayed if parameter.ndim > 1 and id(parameter) not in embeddings else rest).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=betas, fused=True)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Sets the learning rate of the next step."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def restore(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Takes over what ``state_dict`` returned. Raises ValueError for averages that do not fit their parameters.

    The optimiser itself compares only the numbers of parameters.
    """
    optimiser.load_state_dict(state)
    for parameter, averages in optimiser.state.items():
        for name, value in averages.items():
            expected = [] if name == "step" else list(parameter.shape)
            if list(value.shape) != expected:
                raise ValueError(f"{name} of the optimiser is {list(value.shape)}, expected {expected}")
