"""Row and step in PyTorch: the same algorithm as ``export.specification.rowstep``, term by term, on tensors.

This is what a careful user would write without ONNX graphs: one batched product for all layers, state updated in
place. ``row_terms`` and ``column`` are functions of tensors only, as ``torch.compile`` requires.

A row or column is given by an ``Index``. An integer selects memory at no cost. A tensor on the device makes all shapes
and addresses constant, as CUDA graphs require: attention then reads all keys and values, and masks the later ones.

Axes: W columns, L layers, B batch, p reach, k kernel, n earlier positions, d = attention channels / heads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from latentloop.bench.baselines.tensors import Index, map_tensors, put, take
from latentloop.export.specification.rowstep_weights import Attention, PointwiseConv, RowStepWeights


@dataclass
class TorchFixed:
    """Terms computed once per image: condition [H, W, B, Cc], label terms [L, B, 2 C] and [B, 2 width] per block."""

    condition: Tensor | None
    class_causal: Tensor | None
    class_pointwise: list[Tensor]


@dataclass
class TorchState:
    """The loop's memory: a window of k rows, the last of which is being drawn, and all keys and values."""

    codes: Tensor  # [p + 1, W + 2 p, B]; K means no code
    residual: Tensor  # [k, W + 2 p, L, B, C]
    hidden: Tensor  # [k, W + 2 p, L, B, R]
    keys: Tensor  # [blocks, B, heads, H * W, d]
    values: Tensor  # [blocks, B, heads, H * W, d]
    positions: Tensor  # [H * W]: 0, 1, …; empty without attention


@dataclass
class TorchColumn:
    """The results of one column: codes [B], logits [B, K], and its entries of the state."""

    code: Tensor
    logits: Tensor
    residual: Tensor  # [L, B, C]
    hidden: Tensor  # [L, B, R]
    keys: list[Tensor]  # per block [B, heads, d]
    values: list[Tensor]


class TorchRowStep:
    """One prior's condition, row and column. On the CPU it shares the memory of ``weights`` instead of copying it."""

    def __init__(self, weights: RowStepWeights, device: str = "cpu", dtype: torch.dtype | None = None) -> None:
        """Moves the weights to the device, then converts them to ``dtype`` if one is named."""
        self.config = weights.config
        self.w: Any = map_tensors(weights, lambda values: _as_tensor(values, device, dtype))  # the same fields
        self.background = self.w.background.flatten(0, 1)  # [H * W, 2]
        self.row_function: Callable[..., tuple[Tensor, Tensor, Tensor]] = self.row_terms
        self.column_function: Callable[..., TorchColumn] = self.column

    def start(self, batch: int) -> TorchState:
        """Returns the memory before the first row. Keys and values are noise: zeros that were never written share one
        page, which stays in the cache."""
        c, like = self.config, self.w.logits
        width = c.width + 2 * c.reach
        blocks = c.blocks if c.attention else 0
        cached = like.new_empty(blocks, batch, c.heads, c.height * c.width, c.attention_channels // c.heads)
        return TorchState(
            codes=torch.full((c.reach + 1, width, batch), c.codebook_size, device=like.device),
            residual=like.new_zeros(c.kernel, width, c.layers, batch, c.channels),
            hidden=like.new_zeros(c.kernel, width, c.layers, batch, c.residual_channels),
            keys=torch.randn_like(cached),
            values=torch.randn_like(cached),
            positions=torch.arange(c.height * c.width if c.attention else 0, device=like.device),
        )

    def condition(self, upper: Tensor | None, labels: Tensor | None) -> TorchFixed:
        """Computes the per-image terms from upper [B, H', W'], codes of the level above, and labels [B], both int64."""
        w, c = self.w, self.config
        condition = None
        if w.condition_stack is not None:
            assert upper is not None
            x = functional.one_hot(upper, c.condition_codes).permute(0, 3, 1, 2).to(w.logits.dtype)
            x = _same(x, *w.condition_stack.input)
            for weight1, bias1, weight2, bias2 in w.condition_stack.residual:
                h = _same(functional.elu(x), weight1, bias1)
                x = self._skip(x) + functional.glu(_same(functional.elu(h), weight2, bias2), 1)
            grown = functional.interpolate(x, scale_factor=2)[:, :, : c.height, : c.width]
            condition = grown.permute(2, 3, 0, 1).contiguous()
        if w.label_embedding is None:
            return TorchFixed(condition, None, [])
        embedded = w.label_embedding[labels]  # [B, E]
        terms = [embedded @ block.label for block in w.pointwise if block.label is not None]
        return TorchFixed(condition, embedded @ w.class_causal, terms)

    def row_terms(
        self,
        residual: Tensor,
        hidden: Tensor,
        codes: Tensor,
        fixed: Tensor | None,
        label: Tensor | None,
        below: bool | Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns sums over the rows above for all columns: input [W, B, C], conv1 [W, L, B, R], conv2 [W, L, B, 2 C].

        residual, hidden [k - 1, W + 2 p, L, B, …], codes [p, W + 2 p, B], fixed [W, B, Cc]; ``below``: whether the row
        is below the first one, a bool or a bool tensor [1].
        """
        w, c = self.w, self.config
        conv1 = self._above(residual, w.conv1_above) + w.conv1_bias[:, None]
        conv2 = self._above(hidden, w.conv2_above) + w.conv2_bias[:, None]
        if fixed is not None:
            term = (fixed @ w.condition).unflatten(-1, (c.layers, 2 * c.channels))
            conv2 = conv2 + term.transpose(1, 2)
        if label is not None:
            conv2 = conv2 + label
        taps = [w.above_table[a, b][codes[a, b : b + c.width]] for a in range(c.reach) for b in range(c.kernel)]
        x = torch.stack(taps).sum(0) + w.above_bias * below
        return torch.cat([x[:1], x[1:] + w.left_bias]), conv1, conv2

    def column(
        self,
        residual: Tensor,
        hidden: Tensor,
        codes: Tensor,
        terms: tuple[Tensor, Tensor, Tensor],
        background: Tensor,
        keys: Tensor,
        values: Tensor,
        labels: list[Tensor],
        uniform: Tensor,
        forced: Tensor,
        seen: Tensor | None = None,
    ) -> TorchColumn:
        """Computes one column from its left neighbours' residual, hidden [p, L, B, …] and codes [p, B], its terms,
        background [2], keys and values [blocks, B, heads, n, d], label terms, uniform [B] in [0, 1), forced [B] (-1:
        draw). ``seen``, bool [n], marks the keys and values computed so far; None: all of them.
        """
        w, c = self.w, self.config
        x, conv1, conv2 = terms
        h = functional.elu(conv1 + (residual @ w.conv1_left).sum(0))
        gated = functional.glu(conv2 + (hidden @ w.conv2_left).sum(0), -1)
        x = x + torch.stack([w.left_table[t][codes[t]] for t in range(c.reach)]).sum(0)
        label_terms = iter(labels)
        entered_layers, new_keys, new_values = [], [], []
        for b, block in enumerate(w.blocks):
            added = gated[b * c.residual_blocks : (b + 1) * c.residual_blocks]
            entered, out = self._layers(x, added)
            entered_layers.append(entered)
            if isinstance(block, PointwiseConv):
                x = out @ block.weight + (background @ block.background + block.bias)
            else:
                x, key, value = self._attend(
                    block, self._skip(x), out, background, (keys[b], values[b], seen), label_terms
                )
                new_keys.append(key)
                new_values.append(value)
        for stage in w.output:
            x = self._gated(stage, x, next(label_terms, None))
        logits = functional.elu(x) @ w.logits + w.logits_bias
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))  # 16 bits are too few to sum probabilities
        mass = torch.exp(logits - logits.amax(-1, keepdim=True)).cumsum(-1)
        drawn = (mass <= uniform[:, None] * mass[:, -1:]).sum(-1).clamp(max=c.codebook_size - 1)
        code = torch.where(forced >= 0, forced, drawn)
        return TorchColumn(code, logits, functional.elu(torch.cat(entered_layers)), h, new_keys, new_values)

    def begin_row(self, state: TorchState, fixed: TorchFixed, i: Index) -> tuple[Tensor, Tensor, Tensor]:
        """Moves the window to row i; returns the row's terms."""
        k, p = self.config.kernel, self.config.reach
        for window, fill in ((state.codes, self.config.codebook_size), (state.residual, 0), (state.hidden, 0)):
            window[:-1] = window[1:].clone()
            window[-1] = fill
        return self.row_function(
            state.residual[: k - 1],
            state.hidden[: k - 1],
            state.codes[:p],
            None if fixed.condition is None else take(fixed.condition, i),
            fixed.class_causal,
            i > 0,
        )

    def step(
        self,
        state: TorchState,
        fixed: TorchFixed,
        terms: tuple[Tensor, Tensor, Tensor],
        position: tuple[Index, Index],
        uniform: Tensor,
        forced: Tensor,
    ) -> TorchColumn:
        """Computes the column at position (i, j) from its row's ``terms``, and writes its results into ``state``.

        uniform [B] in [0, 1); forced [B], -1 to draw.
        """
        (i, j), p = position, self.config.reach
        n = i * self.config.width + j
        # Without attention one shape for all columns: one compilation.
        last = (n if self.config.attention else 0) if isinstance(n, int) else None
        column = self.column_function(
            take(state.residual[-1], j, p),
            take(state.hidden[-1], j, p),
            take(state.codes[-1], j, p),
            tuple(take(term, j) for term in terms),
            take(self.background, n),
            state.keys[:, :, :, :last],
            state.values[:, :, :, :last],
            fixed.class_pointwise,
            uniform,
            forced,
            None if isinstance(n, int) else state.positions < n,
        )
        put(state.codes[-1], j + p, column.code)
        put(state.residual[-1], j + p, column.residual)
        put(state.hidden[-1], j + p, column.hidden)
        for b, (key, value) in enumerate(zip(column.keys, column.values, strict=True)):
            put(state.keys[b], n, key, 2)
            put(state.values[b], n, value, 2)
        return column

    def _above(self, rows: Tensor, weight: Tensor) -> Tensor:
        """[k - 1, W + 2 p, L, B, I] x [L, k (k - 1) I, O] -> [W, L, B, O]."""
        c = self.config
        joined = rows.permute(2, 1, 3, 0, 4).flatten(3)  # [L, W + 2 p, B, (k - 1) I]
        windows = torch.cat([joined[:, b : b + c.width] for b in range(c.kernel)], -1)
        products = torch.bmm(windows.flatten(1, 2), weight)  # [L, W * B, O]
        return products.view(c.layers, c.width, -1, weight.shape[2]).transpose(0, 1).contiguous()

    def _layers(self, x: Tensor, added: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, C], gated outputs [layers, B, C] -> every layer's input [layers, B, C] and the last layer's output."""
        if not self.config.inplace:
            sums = torch.cat([x[None], added]).cumsum(0)
            return sums[:-1], sums[-1]
        entered = []
        for output in added:
            entered.append(x)
            x = self._skip(x) + output
        return torch.stack(entered), x

    def _gated(self, block: Any, x: Tensor, label: Tensor | None, auxiliary: Tensor | None = None) -> Tensor:
        h = functional.elu(x) @ block.conv1 + block.conv1_bias
        if auxiliary is not None:
            h = h + functional.elu(auxiliary) @ block.auxiliary
        out = functional.elu(h) @ block.conv2 + block.conv2_bias
        return self._skip(x) + functional.glu(out if label is None else out + label, 1)

    def _skip(self, x: Tensor) -> Tensor:
        return functional.elu(x) if self.config.inplace else x

    def _attend(
        self,
        block: Attention,
        entered: Tensor,
        x: Tensor,
        background: Tensor,
        history: tuple[Tensor, Tensor, Tensor | None],
        labels: Iterator[Tensor],
    ) -> tuple[Tensor, Tensor, Tensor]:
        c = self.config
        w: Any = block
        keys, values, seen = history
        coordinates = background.expand(len(x), 2)
        key = self._gated(w.key, torch.cat([entered, x, coordinates], 1), next(labels, None))
        query = self._gated(w.query, torch.cat([x, coordinates], 1), next(labels, None))
        new_key = (key @ w.key_map + w.key_bias).unflatten(1, (c.heads, -1))
        new_value = (key @ w.value_map + w.value_bias).unflatten(1, (c.heads, -1))
        if keys.shape[2]:
            q = (query @ w.query_map + w.query_bias).unflatten(1, (c.heads, -1))[:, :, None]
            scores = q @ keys.transpose(2, 3) / q.shape[-1] ** 0.5  # [B, heads, 1, n]
            if seen is not None:
                scores = torch.where(seen, scores, torch.finfo(scores.dtype).min)
            attended = (scores.softmax(-1) @ values).flatten(1)
            if seen is not None:
                attended = attended * seen[0]  # the first position attends to nothing
        else:
            attended = x.new_zeros(len(x), c.attention_channels)
        return self._gated(w.out, x, next(labels, None), attended), new_key, new_value


def _same(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return functional.conv2d(x, weight, bias, padding="same")


def _as_tensor(values: Any, device: str, dtype: torch.dtype | None) -> Tensor:
    """Returns a tensor; on the CPU it shares an array's memory."""
    tensor = values if isinstance(values, Tensor) else torch.from_numpy(np.ascontiguousarray(values))
    return tensor.to(device).to(dtype)
