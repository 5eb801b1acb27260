"""Random state dicts in the common PyTorch layout, built key by key, and variants of how they are saved."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common_layout
import numpy as np
import torch
from torch import Tensor

State = dict[str, Tensor]


@dataclass(frozen=True)
class PriorSizes:
    """The sizes of a random prior; ``upper_codes`` is 0 for the top level."""

    height: int
    width: int
    kernel: int
    attention: bool = True
    codes: int = 11
    channels: int = 32
    inner: int = 12
    blocks: int = 2
    residual_blocks: int = 2
    output_blocks: int = 0
    upper_codes: int = 0
    upper_channels: int = 6
    upper_blocks: int = 2
    upper_kernel: int = 3


PRIORS = {
    "top-k3": PriorSizes(4, 5, 3, output_blocks=2),
    "top-k5": PriorSizes(5, 4, 5, channels=16, blocks=3, residual_blocks=1),
    "top-k7": PriorSizes(7, 5, 7, codes=9, output_blocks=1),
    "bottom-k3": PriorSizes(5, 7, 3, attention=False, upper_codes=7),
    "bottom-k5": PriorSizes(6, 8, 5, attention=False, upper_codes=11, upper_blocks=1, upper_kernel=5),
    "bottom-k7": PriorSizes(7, 7, 7, attention=False, channels=10, upper_codes=5, output_blocks=1),
    "middle-attention-k5": PriorSizes(5, 5, 5, upper_codes=13, upper_blocks=0, output_blocks=1),
}


class _StateBuilder:
    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.state: State = {}

    def add(self, key: str, *shape: int, scale: float = 0.3) -> None:
        self.state[key] = torch.from_numpy(self.rng.normal(0, scale, shape).astype(np.float32))

    def plain(self, key: str, *shape: int, outputs: int, scale: float) -> None:
        self.add(f"{key}.weight", *shape, scale=scale)
        self.add(f"{key}.bias", outputs)

    def normed(self, key: str, *shape: int, bias: bool = True) -> None:
        if bias:
            self.add(f"{key}.bias", shape[0])
        gain = self.rng.uniform(0.5, 2.0, (shape[0], *(1 for _ in shape[1:])))
        self.state[f"{key}.weight_g"] = torch.from_numpy(gain.astype(np.float32))
        self.add(f"{key}.weight_v", *shape, scale=1.0)

    def gated(self, key: str, channels: int, inner: int, kernel: int = 1) -> None:
        self.normed(f"{key}.conv1.conv", inner, channels, kernel, kernel)
        self.normed(f"{key}.conv2.conv", 2 * channels, inner, kernel, kernel)


def random_prior(sizes: PriorSizes, seed: int = 0) -> State:
    """A prior's state dict; the masked taps of its causal convolutions hold large random values."""
    builder, c, k = _StateBuilder(seed), sizes.channels, sizes.kernel
    rows = (torch.arange(sizes.height).float() - sizes.height / 2) / sizes.height
    columns = (torch.arange(sizes.width).float() - sizes.width / 2) / sizes.width
    builder.state["background"] = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))[None]
    builder.normed("horizontal.conv.conv", c, sizes.codes, k // 2, k)
    builder.normed("vertical.conv.conv", c, sizes.codes, (k + 1) // 2, k // 2)
    for b in range(sizes.blocks):
        for r in range(sizes.residual_blocks):
            key = f"blocks.{b}.resblocks.{r}"
            builder.normed(f"{key}.conv1.conv.conv", sizes.inner, c, k, k)
            builder.normed(f"{key}.conv2.conv.conv", 2 * c, sizes.inner, k, k)
            for part in ("conv1", "conv2"):
                builder.state[f"{key}.{part}.conv.conv.weight_v"][:, :, -1, k // 2 :] *= 1000
            if sizes.upper_codes:
                builder.normed(f"{key}.condition.conv", 2 * c, sizes.upper_channels, 1, 1, bias=False)
        if sizes.attention:
            builder.gated(f"blocks.{b}.key_resblock", 2 * c + 2, c)
            builder.gated(f"blocks.{b}.query_resblock", c + 2, c)
            builder.normed(f"blocks.{b}.causal_attention.query", c // 2, c + 2)
            builder.normed(f"blocks.{b}.causal_attention.key", c // 2, 2 * c + 2)
            builder.normed(f"blocks.{b}.causal_attention.value", c // 2, 2 * c + 2)
            builder.gated(f"blocks.{b}.out_resblock", c, c)
            builder.normed(f"blocks.{b}.out_resblock.aux_conv.conv", c, c // 2, 1, 1)
        else:
            builder.normed(f"blocks.{b}.out.conv", c, c + 2, 1, 1)
    if sizes.upper_codes:
        wide, size = sizes.upper_channels, sizes.upper_kernel
        builder.normed("cond_resnet.blocks.0.conv", wide, sizes.upper_codes, size, size)
        for n in range(1, sizes.upper_blocks + 1):
            builder.gated(f"cond_resnet.blocks.{n}", wide, wide, size)
    for n in range(sizes.output_blocks):
        builder.gated(f"out.{n}", c, sizes.inner)
    builder.normed(f"out.{sizes.output_blocks + 1}.conv", sizes.codes, c, 1, 1)
    return builder.state


def random_codes(sizes: PriorSizes, batch: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Codes [N, H, W] and the codes above [N, H', W'], or None for a top prior."""
    rng = np.random.default_rng(1)
    codes = rng.integers(0, sizes.codes, (batch, sizes.height, sizes.width))
    grid = ((sizes.height + 1) // 2, (sizes.width + 1) // 2)
    return codes, rng.integers(0, sizes.upper_codes, (batch, *grid)) if sizes.upper_codes else None


def random_vqvae(
    channels: int = 8,
    inner: int = 5,
    layers: int = 2,
    width: int = 6,
    size: int = 9,
    images: int = 3,
    seed: int = 0,
) -> State:
    """A VQ-VAE's state dict, with the moving averages of its codebooks."""
    builder, half = _StateBuilder(seed), channels // 2

    def conv(key: str, outputs: int, inputs: int, kernel: int) -> None:
        scale = 2.5 / (inputs * kernel * kernel) ** 0.5
        builder.plain(key, outputs, inputs, kernel, kernel, outputs=outputs, scale=scale)

    def residual(key: str, first: int) -> None:
        for n in range(first, first + layers):
            conv(f"{key}.{n}.conv.1", inner, channels, 3)
            conv(f"{key}.{n}.conv.3", channels, inner, 1)

    def transposed(key: str, outputs: int, inputs: int) -> None:
        builder.plain(key, inputs, outputs, 4, 4, outputs=outputs, scale=0.7 / inputs**0.5)

    conv("enc_b.blocks.0", half, images, 4)
    conv("enc_b.blocks.2", channels, half, 4)
    conv("enc_b.blocks.4", channels, channels, 3)
    residual("enc_b.blocks", 5)
    conv("enc_t.blocks.0", half, channels, 4)
    conv("enc_t.blocks.2", channels, half, 3)
    residual("enc_t.blocks", 3)
    conv("quantize_conv_t", width, channels, 1)
    conv("quantize_conv_b", width, width + channels, 1)
    conv("dec_t.blocks.0", channels, width, 3)
    residual("dec_t.blocks", 1)
    transposed(f"dec_t.blocks.{layers + 2}", width, channels)
    transposed("upsample_t", width, width)
    conv("dec.blocks.0", channels, 2 * width, 3)
    residual("dec.blocks", 1)
    transposed(f"dec.blocks.{layers + 2}", half, channels)
    transposed(f"dec.blocks.{layers + 4}", images, half)
    for level in ("quantize_t", "quantize_b"):
        builder.add(f"{level}.embed", width, size, scale=0.5)
        builder.add(f"{level}.cluster_size", size)
        builder.add(f"{level}.embed_avg", width, size)
    return builder.state


def as_float64(state: State) -> common_layout.State:
    return {key: value.double().numpy() for key, value in state.items()}


def parametrized(state: State) -> State:
    """The same tensors under the names of torch's parametrizations."""
    names = {
        ".weight_g": ".parametrizations.weight.original0",
        ".weight_v": ".parametrizations.weight.original1",
    }
    out = {}
    for key, value in state.items():
        stem, dot, last = key.rpartition(".")
        out[stem + names.get(dot + last, dot + last)] = value
    return out


def with_prefix(state: State) -> State:
    return {f"module.{key}": value for key, value in state.items()}


def save(file: Path, state: object, **args: Any) -> Path:
    """Saves like the training scripts: a prior with its options, a VQ-VAE without."""
    torch.save({"model": state, "args": argparse.Namespace(**args)} if args else state, file)
    return file
