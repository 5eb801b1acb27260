"""Random state dicts in the common PyTorch layout, spelled out key by key, and the ways they are saved."""

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
class Layout:
    """A prior to make up; ``upper_codes`` 0 makes a top."""

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


LAYOUTS = {
    "top-k3": Layout(4, 5, 3, output_blocks=2),
    "top-k5": Layout(5, 4, 5, channels=16, blocks=3, residual_blocks=1),
    "top-k7": Layout(7, 5, 7, codes=9, output_blocks=1),
    "bottom-k3": Layout(5, 7, 3, attention=False, upper_codes=7),
    "bottom-k5": Layout(6, 8, 5, attention=False, upper_codes=11, upper_blocks=1, upper_kernel=5),
    "bottom-k7": Layout(7, 7, 7, attention=False, channels=10, upper_codes=5, output_blocks=1),
    "middle-attention-k5": Layout(5, 5, 5, upper_codes=13, upper_blocks=0, output_blocks=1),
}


class _Maker:
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


def random_prior(layout: Layout, seed: int = 0) -> State:
    """A prior's state dict; the masked taps of its causal convolutions hold large garbage."""
    make, c, k = _Maker(seed), layout.channels, layout.kernel
    rows = (torch.arange(layout.height).float() - layout.height / 2) / layout.height
    columns = (torch.arange(layout.width).float() - layout.width / 2) / layout.width
    make.state["background"] = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))[None]
    make.normed("horizontal.conv.conv", c, layout.codes, k // 2, k)
    make.normed("vertical.conv.conv", c, layout.codes, (k + 1) // 2, k // 2)
    for b in range(layout.blocks):
        for r in range(layout.residual_blocks):
            key = f"blocks.{b}.resblocks.{r}"
            make.normed(f"{key}.conv1.conv.conv", layout.inner, c, k, k)
            make.normed(f"{key}.conv2.conv.conv", 2 * c, layout.inner, k, k)
            for part in ("conv1", "conv2"):
                make.state[f"{key}.{part}.conv.conv.weight_v"][:, :, -1, k // 2 :] *= 1000
            if layout.upper_codes:
                make.normed(f"{key}.condition.conv", 2 * c, layout.upper_channels, 1, 1, bias=False)
        if layout.attention:
            make.gated(f"blocks.{b}.key_resblock", 2 * c + 2, c)
            make.gated(f"blocks.{b}.query_resblock", c + 2, c)
            make.normed(f"blocks.{b}.causal_attention.query", c // 2, c + 2)
            make.normed(f"blocks.{b}.causal_attention.key", c // 2, 2 * c + 2)
            make.normed(f"blocks.{b}.causal_attention.value", c // 2, 2 * c + 2)
            make.gated(f"blocks.{b}.out_resblock", c, c)
            make.normed(f"blocks.{b}.out_resblock.aux_conv.conv", c, c // 2, 1, 1)
        else:
            make.normed(f"blocks.{b}.out.conv", c, c + 2, 1, 1)
    if layout.upper_codes:
        wide, size = layout.upper_channels, layout.upper_kernel
        make.normed("cond_resnet.blocks.0.conv", wide, layout.upper_codes, size, size)
        for n in range(1, layout.upper_blocks + 1):
            make.gated(f"cond_resnet.blocks.{n}", wide, wide, size)
    for n in range(layout.output_blocks):
        make.gated(f"out.{n}", c, layout.inner)
    make.normed(f"out.{layout.output_blocks + 1}.conv", layout.codes, c, 1, 1)
    return make.state


def random_codes(layout: Layout, batch: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Codes [N, H, W] and the codes above [N, H', W'], or None for a top."""
    rng = np.random.default_rng(1)
    codes = rng.integers(0, layout.codes, (batch, layout.height, layout.width))
    grid = ((layout.height + 1) // 2, (layout.width + 1) // 2)
    return codes, rng.integers(0, layout.upper_codes, (batch, *grid)) if layout.upper_codes else None


def random_vqvae(
    channels: int = 8,
    inner: int = 5,
    layers: int = 2,
    width: int = 6,
    size: int = 9,
    images: int = 3,
    seed: int = 0,
) -> State:
    """A VQ-VAE's state dict with the moving averages that its codebooks train by."""
    make, half = _Maker(seed), channels // 2

    def conv(key: str, outputs: int, inputs: int, kernel: int) -> None:
        scale = 2.5 / (inputs * kernel * kernel) ** 0.5
        make.plain(key, outputs, inputs, kernel, kernel, outputs=outputs, scale=scale)

    def residual(key: str, first: int) -> None:
        for n in range(first, first + layers):
            conv(f"{key}.{n}.conv.1", inner, channels, 3)
            conv(f"{key}.{n}.conv.3", channels, inner, 1)

    def transposed(key: str, outputs: int, inputs: int) -> None:
        make.plain(key, inputs, outputs, 4, 4, outputs=outputs, scale=0.7 / inputs**0.5)

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
        make.add(f"{level}.embed", width, size, scale=0.5)
        make.add(f"{level}.cluster_size", size)
        make.add(f"{level}.embed_avg", width, size)
    return make.state


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
    """Saves as the training scripts do: a prior with its options, a VQ-VAE bare."""
    torch.save({"model": state, "args": argparse.Namespace(**args)} if args else state, file)
    return file
