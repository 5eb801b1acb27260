"""The PixelSNAIL prior over one level's codes: the full, parallel forward (arXiv 1712.09763; VQ-VAE-2, section 3.2).

Every causal convolution is masked at its centre: position (i, j) sees whole rows above and, in its own row,
the columns to the left. Tensors are [N, C, H, W]; codes [N, H, W] int64.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from latentloop.export.configuration import PriorConfig


class CausalConv2d(nn.Conv2d):
    """A k x k convolution over k - 1 full rows above and the k // 2 taps left of the centre in this row.

    The input stage hides the current code, so causality alone would allow the centre tap. Because it is masked, all
    layers of a column can be computed at once from the columns before it.
    """

    live: Tensor

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__(in_channels, out_channels, kernel)
        live = torch.ones(kernel, kernel)
        live[-1, kernel // 2 :] = 0
        self.register_buffer("live", live, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, H, W]."""
        kernel = self.kernel_size[0]
        padded = functional.pad(x, (kernel // 2, kernel // 2, kernel - 1, 0))
        return functional.conv2d(padded, self.weight * self.live, self.bias)


class GatedBlock(nn.Module):
    """x + GLU(conv2(ELU(conv1(ELU(x)) + auxiliary(ELU(a)))) + condition + label); auxiliary, condition, label optional.

    The dropout and the variant are those of ``config``: with ``inplace`` the skip connection carries ELU(x) instead of
    x. ``kernel`` 1: a pointwise block. ``causal``: the centre tap and the taps after it are masked. ``labelled``: the
    block reads the label, if the prior has classes.
    """

    def __init__(
        self,
        config: PriorConfig,
        channels: int,
        inner: int,
        kernel: int,
        *,
        causal: bool = False,
        auxiliary: int = 0,
        condition: int = 0,
        labelled: bool = True,
    ) -> None:
        super().__init__()
        self.inplace = config.inplace
        label = config.class_channels if labelled else 0
        conv = CausalConv2d if causal else partial(nn.Conv2d, padding=kernel // 2)
        self.conv1 = conv(channels, inner, kernel)
        self.conv2 = conv(inner, 2 * channels, kernel)
        self.auxiliary = nn.Conv2d(auxiliary, inner, 1) if auxiliary else None
        self.condition = nn.Conv2d(condition, 2 * channels, 1, bias=False) if condition else None
        self.label = nn.Linear(label, 2 * channels, bias=False) if label else None
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        x: Tensor,
        auxiliary: Tensor | None = None,
        condition: Tensor | None = None,
        label: Tensor | None = None,
    ) -> Tensor:
        """X [N, C, H, W]; label is an embedding [N, E]; returns [N, C, H, W]."""
        active = functional.elu(x)
        out = self.conv1(active)
        if self.auxiliary is not None:
            assert auxiliary is not None
            out = out + self.auxiliary(functional.elu(auxiliary))
        out = self.conv2(self.dropout(functional.elu(out)))
        if self.condition is not None:
            out = out + self.condition(condition)
        if self.label is not None:
            out = out + self.label(label)[:, :, None, None]
        return (active if self.inplace else x) + functional.glu(out, 1)


class CausalAttention(nn.Module):
    """Multi-head attention to the earlier positions in raster order; zeros at the first position."""

    def __init__(self, query_channels: int, key_channels: int, channels: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(query_channels, channels)
        self.key = nn.Linear(key_channels, channels)
        self.value = nn.Linear(key_channels, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """Query [N, Cq, H, W], key [N, Ck, H, W] -> [N, channels, H, W]."""
        n, _, height, width = query.shape
        q, k, v = (self._split(f, x) for f, x in ((self.query, query), (self.key, key), (self.value, key)))
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
        positions = torch.arange(height * width, device=query.device)
        earlier = positions[None, :] < positions[:, None]
        scores = scores.masked_fill(~earlier, -math.inf)
        scores[:, :, 0] = 0  # the first row of an all-masked softmax would be NaN; its weights are zeroed below
        weights = self.dropout(torch.softmax(scores, 3) * earlier)
        attended: Tensor = (weights @ v).transpose(2, 3).reshape(n, -1, height, width)
        return attended

    def _split(self, linear: nn.Module, x: Tensor) -> Tensor:
        flat = linear(x.flatten(2).transpose(1, 2))  # [N, H * W, channels]
        n, positions, channels = flat.shape
        split: Tensor = flat.view(n, positions, self.heads, channels // self.heads).transpose(1, 2)
        return split


class PixelBlock(nn.Module):
    """Causal gated blocks, then attention to earlier positions, or a 1 x 1 convolution that also reads coordinates."""

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        c, inner, condition = config.channels, config.residual_channels, config.condition_channels
        self.inplace = config.inplace
        self.residual = nn.ModuleList(
            GatedBlock(config, c, inner, config.kernel, causal=True, condition=condition)
            for _ in range(config.residual_blocks)
        )
        self.attends = config.attention
        if config.attention:
            width = config.attention_channels
            self.key = GatedBlock(config, 2 * c + 2, c, 1)
            self.query = GatedBlock(config, c + 2, c, 1)
            self.attention = CausalAttention(c + 2, 2 * c + 2, width, config.heads, config.dropout)
            self.out = GatedBlock(config, c, c, 1, auxiliary=width)
        else:
            self.mix = nn.Conv2d(c + 2, c, 1)

    def forward(self, x: Tensor, background: Tensor, condition: Tensor | None, label: Tensor | None) -> Tensor:
        """X [N, C, H, W], background [N, 2, H, W] -> [N, C, H, W]."""
        out = x
        for block in self.residual:
            out = block(out, condition=condition, label=label)
        if not self.attends:
            convolved: Tensor = self.mix(torch.cat([out, background], 1))
            return convolved
        block_input = functional.elu(x) if self.inplace else x  # in place, the first residual block overwrites it
        key = self.key(torch.cat([block_input, out, background], 1), label=label)
        query = self.query(torch.cat([out, background], 1), label=label)
        attended: Tensor = self.out(out, auxiliary=self.attention(query, key), label=label)
        return attended


class ConditionStack(nn.Module):
    """The condition from the level above: one-hot codes -> convolution -> gated blocks -> nearest upsampling by 2."""

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.codes = config.condition_codes
        self.grid = (config.height, config.width)
        width, kernel = config.condition_channels, config.condition_kernel
        self.input = nn.Conv2d(config.condition_codes, width, kernel, padding=kernel // 2)
        self.residual = nn.ModuleList(
            GatedBlock(config, width, width, kernel, labelled=False) for _ in range(config.condition_blocks)
        )

    def forward(self, upper: Tensor) -> Tensor:
        """Upper codes [N, H', W'] int64 -> [N, condition_channels, H, W]."""
        x = self.input(one_hot(upper, self.codes, self.input.weight.dtype))
        for block in self.residual:
            x = block(x)
        upsampled = functional.interpolate(x, scale_factor=2, mode="nearest")
        return upsampled[:, :, : self.grid[0], : self.grid[1]]


class PixelSnail(nn.Module):
    """The prior of one level: the logits of every position given the positions before it."""

    background: Tensor

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config = config
        k, codes, c = config.kernel, config.codebook_size, config.channels
        self.rows_above = nn.Conv2d(codes, c, (k // 2, k))
        self.left = nn.Conv2d(codes, c, ((k + 1) // 2, k // 2))
        self.register_buffer("background", coordinates(config.height, config.width), persistent=False)
        self.condition = ConditionStack(config) if config.condition_codes else None
        self.label_embedding = nn.Embedding(config.classes, config.class_channels) if config.classes else None
        self.blocks = nn.ModuleList(PixelBlock(config) for _ in range(config.blocks))
        self.output = nn.ModuleList(
            GatedBlock(config, c, config.residual_channels, 1) for _ in range(config.output_blocks)
        )
        self.logits = nn.Conv2d(c, codes, 1)

    def forward(self, codes: Tensor, upper: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        """Logits [N, K, H, W] of codes [N, H, W], given the level above [N, H', W'] and labels [N], all int64.

        ``codes`` can be the first rows of the grid only, because logits do not depend on rows below.
        """
        condition = self.condition(upper) if self.condition is not None else None
        return self.given(codes, condition, labels)

    def given(self, codes: Tensor, condition: Tensor | None, labels: Tensor | None) -> Tensor:
        """Like ``forward``, with the condition [N, condition_channels, H, W] instead of the level above."""
        rows = codes.shape[1]
        x = self.input_stage(codes)
        background = self.background[:, :, :rows].expand(len(codes), -1, -1, -1)
        condition = None if condition is None else condition[:, :, :rows]
        label = self.label_embedding(labels) if self.label_embedding is not None else None
        for block in self.blocks:
            x = block(x, background, condition, label)
        for block in self.output:
            x = block(x, label=label)
        logits: Tensor = self.logits(functional.elu(x))
        return logits

    def input_stage(self, codes: Tensor) -> Tensor:
        """Codes [N, H, W] int64 -> [N, C, H, W]: the rows above, and the columns to the left."""
        k = self.config.kernel
        x = one_hot(codes, self.config.codebook_size, self.logits.weight.dtype)
        above = self.rows_above(functional.pad(x, (k // 2, k // 2, k // 2 - 1, 0)))
        left = self.left(functional.pad(x, (k // 2 - 1, 0, (k + 1) // 2 - 1, 0)))
        # The shifts pad zeros after the bias: row 0 gets no rows-above bias, column 0 no left bias.
        above = functional.pad(above, (0, 0, 1, 0))[:, :, :-1]
        left = functional.pad(left, (1, 0))[:, :, :, :-1]
        return above + left


def one_hot(codes: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """Codes [N, H, W] int64 -> [N, size, H, W]."""
    return functional.one_hot(codes, size).permute(0, 3, 1, 2).to(dtype)


def coordinates(height: int, width: int) -> Tensor:
    """The background [1, 2, H, W] float64: (row - H/2) / H and (column - W/2) / W."""
    rows = (torch.arange(height, dtype=torch.float64) - height / 2) / height
    columns = (torch.arange(width, dtype=torch.float64) - width / 2) / width
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
    return grid[None].to(torch.get_default_dtype())
