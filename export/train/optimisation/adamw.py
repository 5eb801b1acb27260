"""The optimiser of every training: AdamW (arXiv 1711.05101)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def adamw(
    model: nn.Module, rate: float, weight_decay: float, betas: tuple[float, float] = (0.9, 0.999)
) -> torch.optim.AdamW:
    """Returns AdamW with weight decay on matrices and convolution kernels only, not on biases and embeddings."""
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    decayed: list[nn.Parameter] = []
    not_decayed: list[nn.Parameter] = []
    for parameter in model.parameters():
        is_decayed = parameter.ndim > 1 and id(parameter) not in embeddings
        (decayed if is_decayed else not_decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": not_decayed, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=betas, fused=True)


def restore_optimiser(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Loads a result of ``optimiser.state_dict``.

    Raises ValueError if a moment's shape differs from its parameter's: ``load_state_dict`` compares only the number of
    parameters.
    """
    optimiser.load_state_dict(state)
    for parameter, moments in optimiser.state.items():
        for name, value in moments.items():
            expected = [] if name == "step" else list(parameter.shape)
            if list(value.shape) != expected:
                raise ValueError(f"{name} of the optimiser is {list(value.shape)}, expected {expected}")
