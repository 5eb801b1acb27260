"""The prior as condition, row and step in NumPy float64: the executable specification of the loop.

``row`` runs once per row and computes, for all layers and all columns, the terms that depend on finished rows alone.
``step`` runs once per column: first the causal convolutions of all layers at once from the columns before it, then the
chain from the previous codes to the logits. The code is a reference for the graphs and is not optimised.

Axes as in the graphs: W columns, L layers, B batch, channels last. State rows are padded with p = kernel // 2
columns on both sides and kernel - 1 rows above.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentloop.export.checkpoints.lazy_arrays import LazyArray, values_of
from latentloop.export.specification.rowstep_weights import (
    Attention,
    Layers,
    Pointwise,
    PointwiseConv,
    RowStepWeights,
)

Float64 = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass
class ImageTerms:
    """The terms that are constant for an image: the condition, and the labels' terms."""

    condition: Float64 | None  # [H, W, B, Cc]
    class_causal: Float64 | None  # [L, B, 2 C]
    class_pointwise: list[Float64]  # one [B, 2 width] per 1 x 1 gated block; empty without labels


@dataclass
class RowTerms:
    """The terms of one row: contributions of the rows above, with the biases, the condition and the labels added."""

    input: Float64  # [W, B, C]
    conv1: Float64  # [W, L, B, R]
    conv2: Float64  # [W, L, B, 2 C]


@dataclass
class State:
    """The loop's state buffers. ``residual`` and ``hidden`` hold ELU of the inputs of conv1 and conv2."""

    codes: Codes  # [p + H, W + 2 p, B]; K means no code
    residual: Float64  # [k - 1 + H, W + 2 p, L, B, C]
    hidden: Float64  # [k - 1 + H, W + 2 p, L, B, R]
    keys: Float64  # [blocks, H * W, B, heads, d]
    values: Float64  # [blocks, H * W, B, heads, d]


class RowStep:
    """One prior's condition, row and step. Lazy weights are converted to float64, exactly, each time they are used."""

    def __init__(self, weights: RowStepWeights) -> None:
        self.weights = weights
        self.config = weights.config

    def start(self, batch: int, rows: int | None = None) -> State:
        """Returns the state before the first row; ``rows`` limits it to the first rows of the grid."""
        c = self.config
        height, p, above = rows or c.height, c.reach, c.kernel - 1
        width = c.width + 2 * p
        blocks = c.blocks if c.attention else 0
        cached = (blocks, height * c.width, batch, c.heads, c.attention_channels // c.heads)
        return State(
            codes=np.full((p + height, width, batch), c.codebook_size, np.int64),
            residual=np.zeros((above + height, width, c.layers, batch, c.channels)),
            hidden=np.zeros((above + height, width, c.layers, batch, c.residual_channels)),
            keys=np.zeros(cached),
            values=np.zeros(cached),
        )

    def condition(self, upper: Codes | None, labels: Codes | None) -> ImageTerms:
        """Computes the terms of an image: upper [B, H', W'] codes of the level above, labels [B]."""
        w, c = self.weights, self.config
        condition = None
        if w.condition_stack is not None:
            assert upper is not None
            one_hot = np.eye(c.condition_codes)[upper].transpose(0, 3, 1, 2)
            x = _conv(one_hot, *w.condition_stack.input)
            for weight1, bias1, weight2, bias2 in w.condition_stack.residual:
                gated = _glu(_conv(_elu(_conv(_elu(x), weight1, bias1)), weight2, bias2), axis=1)
                x = self._skip(x) + gated
            upsampled = x.repeat(2, axis=2).repeat(2, axis=3)[:, :, : c.height, : c.width]
            condition = upsampled.transpose(2, 3, 0, 1)
        if w.label_embedding is None or w.class_causal is None:
            return ImageTerms(condition, None, [])
        embedded = w.label_embedding[labels]  # [B, E]
        terms = [embedded @ block.label for block in w.pointwise if block.label is not None]
        return ImageTerms(condition, embedded @ w.class_causal, terms)

    def row(self, state: State, image: ImageTerms, i: int) -> RowTerms:
        """Computes every layer's sum over the rows above row i, for all columns."""
        w, c = self.weights, self.config
        p, k = c.reach, c.kernel
        conv1 = self._rows_above(state.residual[i : i + k - 1], w.conv1_above) + w.conv1_bias[:, None, :]
        conv2 = self._rows_above(state.hidden[i : i + k - 1], w.conv2_above) + w.conv2_bias[:, None, :]
        if image.condition is not None and w.condition is not None:
            term = (image.condition[i] @ w.condition).reshape(c.width, -1, c.layers, 2 * c.channels)
            conv2 += term.transpose(0, 2, 1, 3)
        if image.class_causal is not None:
            conv2 += image.class_causal
        x = np.zeros((c.width, state.codes.shape[-1], c.channels))
        for a in range(p):
            for b in range(k):
                x += w.above_table[a, b][state.codes[i + a, b : b + c.width]]
        x += w.above_bias * (i > 0)
        x[1:] += w.left_bias
        return RowTerms(x, conv1, conv2)

    def step(self, state: State, image: ImageTerms, terms: RowTerms, i: int, j: int) -> Float64:
        """Returns the logits [B, K] of position (i, j); writes the column to the state, except its code."""
        w, c = self.weights, self.config
        p, k, n = c.reach, c.kernel, c.residual_blocks
        taps = slice(j, j + p)
        position = (i + k - 1, j + p)
        h = terms.conv1[j] + (state.residual[i + k - 1, taps] @ w.conv1_left).sum(0)
        gated = _glu(terms.conv2[j] + (state.hidden[i + k - 1, taps] @ w.conv2_left).sum(0))
        state.hidden[position] = _elu(h)

        x = terms.input[j] + sum(w.left_table[t][state.codes[i + p, j + t]] for t in range(p))
        label_terms = iter(image.class_pointwise)
        for b, block in enumerate(w.blocks):
            block_input = x
            for layer in range(b * n, (b + 1) * n):
                state.residual[position][layer] = _elu(x)
                x = self._skip(x) + gated[layer]
            if isinstance(block, PointwiseConv):
                x = x @ block.weight + w.background[i, j] @ block.background + block.bias
            else:
                x = self._attend(state, b, block, self._skip(block_input), x, i, j, label_terms)
        for stage in w.output:
            x = self._gated(stage, x, next(label_terms, None))
        logits: Float64 = _elu(x) @ w.logits + w.logits_bias
        return logits

    def _rows_above(self, rows: Float64, weight: Layers) -> Float64:
        """[k - 1, W + 2p, L, B, I] x [L, k (k - 1) I, O] -> [W, L, B, O]."""
        c = self.config
        joined = np.concatenate(list(rows), axis=-1)  # [W + 2p, L, B, (k - 1) I]
        windows = np.concatenate([joined[b : b + c.width] for b in range(c.kernel)], axis=-1)
        batch, taps = windows.shape[2:]
        # One plain GEMM per layer: NumPy would run a stacked product row by row.
        products = [
            windows[:, layer].reshape(-1, taps) @ values_of(weight[layer], np.float64) for layer in range(c.layers)
        ]
        return np.stack([product.reshape(c.width, batch, -1) for product in products], axis=1)

    def _attend(
        self,
        state: State,
        b: int,
        block: Attention,
        block_input: Float64,
        x: Float64,
        i: int,
        j: int,
        labels: Iterator[Float64],
    ) -> Float64:
        """The attention of block b at (i, j); writes the position's key and value to the state."""
        c = self.config
        position = i * c.width + j
        background = np.broadcast_to(self.weights.background[i, j], (len(x), 2))
        key = self._gated(block.key, np.concatenate([block_input, x, background], 1), next(labels, None))
        query = self._gated(block.query, np.concatenate([x, background], 1), next(labels, None))

        def heads(flat: Float64) -> Float64:
            return flat.reshape(len(x), c.heads, -1)

        state.keys[b, position] = heads(key @ block.key_map + block.key_bias)
        state.values[b, position] = heads(key @ block.value_map + block.value_bias)
        attended = np.zeros((len(x), c.attention_channels))
        if position > 0:
            q = heads(query @ block.query_map + block.query_bias)
            scores = np.einsum("bhd,sbhd->bhs", q, state.keys[b, :position]) / np.sqrt(q.shape[-1])
            mass = np.exp(scores - scores.max(2, keepdims=True))
            mass /= mass.sum(2, keepdims=True)
            attended = np.einsum("bhs,sbhd->bhd", mass, state.values[b, :position]).reshape(len(x), -1)
        return self._gated(block.out, x, next(labels, None), attended)

    def _gated(self, block: Pointwise, x: Float64, label: Float64 | None, auxiliary: Float64 | None = None) -> Float64:
        """A gated 1 x 1 block on x [B, width]."""
        h = _elu(x) @ block.conv1 + block.conv1_bias
        if auxiliary is not None and block.auxiliary is not None:
            h = h + _elu(auxiliary) @ block.auxiliary
        out = _elu(h) @ block.conv2 + block.conv2_bias
        return self._skip(x) + _glu(out if label is None else out + label)

    def _skip(self, x: Float64) -> Float64:
        """Returns a gated block's input after its first activation: ELU(x) if that works in place, else x."""
        return _elu(x) if self.config.inplace else x


def _elu(x: Float64) -> Float64:
    out: Float64 = np.where(x > 0, x, np.expm1(np.minimum(x, 0)))
    return out


def _glu(x: Float64, axis: int = -1) -> Float64:
    a, b = np.split(x, 2, axis=axis)
    out: Float64 = a / (1 + np.exp(-b))
    return out


def _conv(x: Float64, weight: Float64 | LazyArray, bias: Float64) -> Float64:
    """A convolution with zero padding to the same size: [N, I, H, W] with [O, I, k, k]."""
    k = weight.shape[-1]
    padded = np.pad(x, ((0, 0), (0, 0), (k // 2, k // 2), (k // 2, k // 2)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (k, k), axis=(2, 3))
    wide = values_of(weight, np.float64)
    out: Float64 = np.einsum("nihwab,oiab->nohw", windows, wide, optimize=True) + bias[:, None, None]
    return out
