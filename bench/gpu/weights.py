"""Random weights of a prior, created on the device in the arrangement of row and step.

The paper's priors have billions of weights: arranging a checkpoint of that size takes minutes on a CPU, and times do
not depend on the values.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from latentloop.export.configuration import PriorConfig
from latentloop.export.specification.rowstep_weights import (
    Attention,
    ConditionWeights,
    Pointwise,
    PointwiseConv,
    RowStepWeights,
)

Draw = Callable[..., Any]  # of a shape: random weights


def random_weights(config: PriorConfig, device: str, dtype: torch.dtype) -> RowStepWeights:
    """Returns weights as tensors of ``dtype``, with the shapes that ``rowstep_weights.arrange`` produces."""
    c = config
    p, k = c.reach, c.kernel
    w = partial(_scaled_normal, device, dtype)
    return RowStepWeights(
        config=c,
        above_table=w(p, k, c.codebook_size + 1, c.channels),
        above_bias=w(c.channels),
        left_table=w(p, c.codebook_size + 1, c.channels),
        left_bias=w(c.channels),
        conv1_above=w(c.layers, k * (k - 1) * c.channels, c.residual_channels),
        conv1_left=w(p, c.layers, c.channels, c.residual_channels),
        conv1_bias=w(c.layers, c.residual_channels),
        conv2_above=w(c.layers, k * (k - 1) * c.residual_channels, 2 * c.channels),
        conv2_left=w(p, c.layers, c.residual_channels, 2 * c.channels),
        conv2_bias=w(c.layers, 2 * c.channels),
        condition=w(c.condition_channels, c.layers * 2 * c.channels) if c.condition_codes else None,
        class_causal=w(c.layers, c.class_channels, 2 * c.channels) if c.classes else None,
        label_embedding=w(c.classes, c.class_channels) if c.classes else None,
        condition_stack=_condition_stack(c, w) if c.condition_codes else None,
        blocks=tuple(_block(c, w) for _ in range(c.blocks)),
        output=tuple(_pointwise(c, w, c.channels, c.residual_channels) for _ in range(c.output_blocks)),
        logits=w(c.channels, c.codebook_size),
        logits_bias=w(c.codebook_size),
        background=w(c.height, c.width, 2),
    )


def _scaled_normal(device: str, dtype: torch.dtype, *shape: int) -> Any:
    """Returns weights scaled so that the variance of activations stays about constant from layer to layer."""
    return torch.randn(shape, device=device, dtype=dtype).mul_(_fan_in(shape) ** -0.5)


def _pointwise(c: PriorConfig, w: Draw, size: int, inner: int, auxiliary: int = 0) -> Pointwise:
    return Pointwise(
        conv1=w(size, inner),
        conv1_bias=w(inner),
        conv2=w(inner, 2 * size),
        conv2_bias=w(2 * size),
        auxiliary=w(auxiliary, inner) if auxiliary else None,
        label=w(c.class_channels, 2 * size) if c.classes else None,
    )


def _block(c: PriorConfig, w: Draw) -> Attention | PointwiseConv:
    if not c.attention:
        return PointwiseConv(w(c.channels, c.channels), w(2, c.channels), w(c.channels))
    keys, queries, width = 2 * c.channels + 2, c.channels + 2, c.attention_channels
    return Attention(
        key=_pointwise(c, w, keys, c.channels),
        query=_pointwise(c, w, queries, c.channels),
        out=_pointwise(c, w, c.channels, c.channels, width),
        query_map=w(queries, width),
        query_bias=w(width),
        key_map=w(keys, width),
        key_bias=w(width),
        value_map=w(keys, width),
        value_bias=w(width),
    )


def _condition_stack(c: PriorConfig, w: Draw) -> ConditionWeights:
    size, taps = c.condition_channels, (c.condition_kernel, c.condition_kernel)
    gated = [(w(size, size, *taps), w(size), w(2 * size, size, *taps), w(2 * size)) for _ in range(c.condition_blocks)]
    return ConditionWeights((w(size, c.condition_codes, *taps), w(size)), tuple(gated))


def random_module(kind: Any, config: Any, device: str, dtype: torch.dtype) -> Any:
    """Returns a network of ``latentloop.export.models`` with PyTorch's initial weights, on the device."""
    with torch.device(device):
        module = kind(config).eval()
    return module.to(dtype)


def random_codes(size: int, shape: tuple[int, ...], device: str) -> Tensor:
    """Returns codes below ``size``, int64."""
    return torch.randint(0, size, shape, device=device)


def _fan_in(shape: tuple[int, ...]) -> int:
    """Returns the inputs per output of a convolution [O, I, k, k], of matrices [..., I, O], or of a bias."""
    if len(shape) == 4 and shape[2] == shape[3]:
        return shape[1] * shape[2] * shape[3]
    return shape[-2] if len(shape) > 1 else shape[0]
