"""Images as the networks take them."""

from __future__ import annotations

import torch
from torch import Tensor

EVALUATION_BATCH = 250  # images at a time where nothing is learnt


def to_signed(images: Tensor) -> Tensor:
    """uint8 [N, H, W, C] -> float32 [N, C, H, W] in [-1, 1]: x / 127.5 - 1."""
    return images.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def mirrored(images: Tensor, which: Tensor) -> Tensor:
    """Images [N, C, H, W], those that ``which`` [N] bool names mirrored left to right."""
    return torch.where(which[:, None, None, None], images.flip(3), images)
