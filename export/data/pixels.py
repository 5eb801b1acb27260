"""Conversion of uint8 images to the networks' input."""

from __future__ import annotations

import torch
from torch import Tensor

EVALUATION_BATCH = 250  # images per forward pass without gradients


def to_signed(images: Tensor) -> Tensor:
    """uint8 [N, H, W, C] -> float32 [N, C, H, W] in [-1, 1]: x / 127.5 - 1."""
    return images.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def mirror_selected(images: Tensor, selected: Tensor) -> Tensor:
    """Mirrors the images [N, C, H, W] with ``selected`` [N] bool True left to right."""
    return torch.where(selected[:, None, None, None], images.flip(3), images)
