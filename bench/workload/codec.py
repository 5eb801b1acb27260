"""The VQ-VAE's encoder and decoder: their FLOPs, and random codes and images to time them with."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from latentloop.bench.workload.part import Part
from latentloop.export.configuration import VqvaeConfig
from latentloop.export.models.vqvae import Vqvae


def codec_flops(config: VqvaeConfig, image: tuple[int, int]) -> dict[str, float]:
    """Returns FLOPs to ``encode`` and ``decode`` one image of (height, width): convolutions and codebook searches."""
    counted = 0.0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
        nonlocal counted
        assert isinstance(module, (nn.Conv2d, nn.ConvTranspose2d))
        per_tap = inputs[0] if isinstance(module, nn.ConvTranspose2d) else out
        other = module.out_channels if isinstance(module, nn.ConvTranspose2d) else module.in_channels
        counted += 2.0 * per_tap.numel() * other * math.prod(module.kernel_size)

    with torch.device("meta"), torch.no_grad():  # shapes only
        model = Vqvae(config)
        for module in model.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                module.register_forward_hook(count)
        levels = model.quantise(torch.empty(1, config.image_channels, *image))
        search = sum(2.0 * level.codes.numel() * config.codebook_size * config.code_channels for level in levels)
        encode, counted = counted + search, 0.0
        model.decode([level.codes for level in levels])
    return {"encode": encode, "decode": counted}


def image_size(part: Part) -> tuple[int, int]:
    """Returns height and width in pixels of a part's images."""
    height, width = part.grids[part.vqvae.level_names[0]]
    stride = part.vqvae.stride(0)
    return height * stride, width * stride


def random_codes(part: Part, count: int) -> dict[str, NDArray[np.int64]]:
    """Returns codes by level [count, h, w], top first."""
    rng = np.random.default_rng(0)
    return {name: rng.integers(0, part.vqvae.codebook_size, (count, *grid)) for name, grid in part.grids.items()}


def random_images(part: Part, count: int) -> NDArray[Any]:
    """Returns noise, uint8 [count, H, W, C]."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, *image_size(part), part.vqvae.image_channels), np.uint8)
