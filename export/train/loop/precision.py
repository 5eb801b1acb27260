"""The precision of a training's forward: float32, or bfloat16 by autocast over float32 weights.

Quantisation, losses, optimiser and averages stay float32 in both; so does evaluation.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor

PRECISIONS = ("float32", "bfloat16")

Placed = TypeVar("Placed", bound=Tensor | torch.nn.Module)


def mixed(device: str | torch.device, precision: str) -> torch.autocast:
    """The context of a training's forward."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bfloat16")


def exact(device: str | torch.device) -> torch.autocast:
    """The context, within ``mixed``, of what must be float32; its inputs have to be converted."""
    return torch.autocast(torch.device(device).type, enabled=False)


def lay_out(placed: Placed, precision: str) -> Placed:
    """Images [N, C, H, W] or a network with its kernels in the layout that the precision's convolutions want.

    The kernels for bfloat16 work on channels-last; with other layouts each convolution would convert first.
    """
    if precision != "bfloat16":
        return placed
    untyped: Any = placed  # torch declares the argument for tensors only
    laid_out: Placed = untyped.to(memory_format=torch.channels_last)
    return laid_out
