"""The precision of a training's forward pass: float32, or bfloat16 by autocast over float32 weights.

Quantisation, losses, optimiser and averages stay float32 in both cases; so does evaluation.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor

PRECISIONS = ("float32", "bfloat16")

TensorOrModule = TypeVar("TensorOrModule", bound=Tensor | torch.nn.Module)


def mixed_precision(device: str | torch.device, precision: str) -> torch.autocast:
    """Returns the autocast context of a training's forward pass."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bfloat16")


def full_precision(device: str | torch.device) -> torch.autocast:
    """Returns a context that disables autocast within ``mixed_precision``. Convert the inputs to float32 first."""
    return torch.autocast(torch.device(device).type, enabled=False)


def set_layout(value: TensorOrModule, precision: str) -> TensorOrModule:
    """Converts images [N, C, H, W] or a network's kernels to the memory layout that is fastest in this precision.

    bfloat16 convolutions run on channels-last; with another layout every convolution converts its operands first.
    """
    if precision != "bfloat16":
        return value
    untyped: Any = value  # torch declares the argument for tensors only
    converted: TensorOrModule = untyped.to(memory_format=torch.channels_last)
    return converted
