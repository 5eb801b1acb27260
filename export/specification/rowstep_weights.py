"""A prior's weights, arranged for the row and the step.

Axes: L causal layers, p = kernel // 2 (the reach), C channels, R residual channels, K codes. A causal k x k
convolution is split into its k - 1 full rows above (read by the row) and its p taps to the left (read by the step).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from latentloop.export.checkpoints.lazy_arrays import (
    Array,
    LazyArray,
    LazyWeights,
    Weights,
    arrays_of,
    is_kept,
    values_of,
)
from latentloop.export.configuration import PriorConfig
from latentloop.export.models.pixelsnail import coordinates

Layers = Array | tuple[LazyArray, ...]  # a matrix per layer


@dataclass(frozen=True)
class Pointwise:
    """A 1 x 1 gated block: conv1 [in, inner], conv2 [inner, 2 in], their biases, and optional parts."""

    conv1: Array
    conv1_bias: Array
    conv2: Array
    conv2_bias: Array
    auxiliary: Array | None = None  # [attention channels, inner]; its bias is added to conv1_bias
    label: Array | None = None  # [E, 2 in]


@dataclass(frozen=True)
class Attention:
    """One block's attention: its three gated blocks, and three linear layers [in, heads * d]."""

    key: Pointwise
    query: Pointwise
    out: Pointwise
    query_map: Array
    query_bias: Array
    key_map: Array
    key_bias: Array
    value_map: Array
    value_bias: Array


@dataclass(frozen=True)
class PointwiseConv:
    """The 1 x 1 convolution of a block without attention: [C, C], and apart from it the coordinates' part [2, C]."""

    weight: Array
    background: Array
    bias: Array


@dataclass(frozen=True)
class ConditionWeights:
    """The condition stack: the first convolution [O, I, k, k] with its bias, then conv1 and conv2 of every block."""

    input: tuple[Array, Array]
    residual: tuple[tuple[Array | LazyArray, Array, Array | LazyArray, Array], ...]


@dataclass(frozen=True)
class RowStepWeights:
    """The weights of condition, row and step, in one dtype; lazy arrays are float32."""

    config: PriorConfig
    above_table: Array  # [p, k, K + 1, C]: the terms of the codes above in the input stage; zero for code K
    above_bias: Array  # [C], for rows after the first
    left_table: Array  # [p, K + 1, C]
    left_bias: Array  # [C], for columns after the first
    conv1_above: Layers  # [L, k * (k - 1) * C, R], input order (column tap, row, channel)
    conv1_left: Array  # [p, L, C, R]
    conv1_bias: Array  # [L, R]
    conv2_above: Layers  # [L, k * (k - 1) * R, 2 C]
    conv2_left: Array  # [p, L, R, 2 C]
    conv2_bias: Array  # [L, 2 C]
    condition: Array | None  # [condition channels, L * 2 C]
    class_causal: Array | None  # [L, E, 2 C]
    label_embedding: Array | None  # [classes, E]
    condition_stack: ConditionWeights | None
    blocks: tuple[Attention | PointwiseConv, ...]
    output: tuple[Pointwise, ...]
    logits: Array  # [C, K]
    logits_bias: Array  # [K]
    background: Array  # [H, W, 2]

    @property
    def pointwise(self) -> list[Pointwise]:
        """Every 1 x 1 gated block, in the order of the step."""
        attention = [block for block in self.blocks if isinstance(block, Attention)]
        return [*(part for block in attention for part in (block.key, block.query, block.out)), *self.output]

    @property
    def labels_width(self) -> int:
        """Width of the label terms of all 1 x 1 gated blocks together; 0 without labels."""
        return sum(block.label.shape[1] for block in self.pointwise if block.label is not None)


def arrange(config: PriorConfig, weights: Weights, dtype: type = np.float64, *, lazy: bool = False) -> RowStepWeights:
    """Arranges a checkpoint's weights, named as in ``latentloop.export.models.pixelsnail.PixelSnail``.

    ``lazy``: the parts that are most of a large prior, the rows above of the causal convolutions and the condition
    stack, are lazy arrays if they are too large to be kept.
    """
    stored = arrays_of(weights)
    w = LazyWeights({name: array.then(partial(values_of, dtype=dtype)) for name, array in stored.items()})
    names = [f"blocks.{b}.residual.{r}" for b in range(config.blocks) for r in range(config.residual_blocks)]

    def layers(part: str, arranged: Callable[[Array], Array], axis: int = 0) -> Array:
        return _stack([partial(_arranged, stored[f"{name}.{part}"], arranged) for name in names], dtype, axis)

    def rows_above(part: str) -> Layers:
        convs = [stored[f"{name}.{part}"] for name in names]
        outputs, inputs, kernel, _ = convs[0].shape
        shape = (kernel * (kernel - 1) * inputs, outputs)
        matrices = tuple(LazyArray(shape, partial(_arranged, conv, _rows_above), conv.dtype) for conv in convs)
        if lazy and not is_kept(sum(matrix.nbytes for matrix in matrices)):
            return matrices
        return _stack([matrix.read for matrix in matrices], dtype)

    above, left = _input_tables(config, w["rows_above.weight"], w["left.weight"])
    condition = None
    if config.condition_codes:
        condition = layers("condition.weight", _matrix, axis=1).reshape(config.condition_channels, -1)
    return RowStepWeights(
        config=config,
        above_table=above,
        above_bias=w["rows_above.bias"],
        left_table=left,
        left_bias=w["left.bias"],
        conv1_above=rows_above("conv1.weight"),
        conv1_left=layers("conv1.weight", _left_taps, axis=1),
        conv1_bias=layers("conv1.bias", np.asarray),
        conv2_above=rows_above("conv2.weight"),
        conv2_left=layers("conv2.weight", _left_taps, axis=1),
        conv2_bias=layers("conv2.bias", np.asarray),
        condition=condition,
        class_causal=layers("label.weight", np.transpose) if config.classes else None,
        label_embedding=w["label_embedding.weight"] if config.classes else None,
        condition_stack=_condition_stack(config, w, stored, lazy=lazy) if config.condition_codes else None,
        blocks=tuple(_block(config, w, f"blocks.{b}") for b in range(config.blocks)),
        output=tuple(_pointwise(w, f"output.{n}") for n in range(config.output_blocks)),
        logits=_matrix(w["logits.weight"]),
        logits_bias=w["logits.bias"],
        background=coordinates(config.height, config.width)[0].permute(1, 2, 0).numpy().astype(dtype),
    )


def _arranged(array: LazyArray, arrangement: Callable[[Array], Array]) -> Array:
    return arrangement(array.read())


def _stack(parts: Sequence[Callable[[], Array]], dtype: type, axis: int = 0) -> Array:
    """Returns the parts along a new axis. Besides the result, only one of them is in memory at a time."""
    stack: Array = np.empty(0)
    for n, part in enumerate(parts):
        values = part()
        if n == 0:
            stack = np.empty([*values.shape[:axis], len(parts), *values.shape[axis:]], dtype)
        stack[(slice(None),) * axis + (n,)] = values
        del values  # before the next one is read
    return stack


def _input_tables(config: PriorConfig, rows_above: Array, left: Array) -> tuple[Array, Array]:
    """Returns the two input convolutions on one-hot codes as look-up tables, for the rows above and for this row.

    rows_above [C, K, p, k], with its output shifted down, sees rows i-p .. i-1 and columns j-p .. j+p; left
    [C, K, p+1, p], with its output shifted right, sees rows i-p .. i and columns j-p .. j-1. In the rows above, their
    taps are added.
    """
    p, k = config.reach, config.kernel
    above = rows_above.transpose(2, 3, 1, 0).copy()  # [p, k, K, C]
    left = left.transpose(2, 3, 1, 0)  # [p + 1, p, K, C]
    above[:, :p] += left[:p]
    zeros = np.zeros((p, k, 1, config.channels), above.dtype)  # for code K
    return np.concatenate([above, zeros], axis=2), np.concatenate([left[p], zeros[:, 0]], axis=1)


def _rows_above(weight: Array) -> Array:
    """The k - 1 full rows: [O, I, k, k] -> [k * (k - 1) * I, O], in the order (column tap, row, channel)."""
    out = weight.shape[0]
    return weight[:, :, :-1, :].transpose(3, 2, 1, 0).reshape(-1, out)


def _left_taps(weight: Array) -> Array:
    """The taps at columns j-p .. j-1 of the current row: [O, I, k, k] -> [p, I, O]."""
    reach = weight.shape[-1] // 2
    return weight[:, :, -1, :reach].transpose(2, 1, 0)


def _matrix(weight: Array) -> Array:
    """A 1 x 1 convolution [O, I, 1, 1] as a matrix [I, O]."""
    return weight[:, :, 0, 0].T


def _pointwise(w: Mapping[str, Array], name: str) -> Pointwise:
    auxiliary = w.get(f"{name}.auxiliary.weight")
    bias = w[f"{name}.conv1.bias"]
    label = w.get(f"{name}.label.weight")
    return Pointwise(
        conv1=_matrix(w[f"{name}.conv1.weight"]),
        conv1_bias=bias if auxiliary is None else bias + w[f"{name}.auxiliary.bias"],
        conv2=_matrix(w[f"{name}.conv2.weight"]),
        conv2_bias=w[f"{name}.conv2.bias"],
        auxiliary=None if auxiliary is None else _matrix(auxiliary),
        label=None if label is None else label.T,
    )


def _block(config: PriorConfig, w: Mapping[str, Array], name: str) -> Attention | PointwiseConv:
    if not config.attention:
        matrix = _matrix(w[f"{name}.mix.weight"])
        return PointwiseConv(matrix[: config.channels], matrix[config.channels :], w[f"{name}.mix.bias"])

    def linear(part: str) -> tuple[Array, Array]:
        return w[f"{name}.attention.{part}.weight"].T, w[f"{name}.attention.{part}.bias"]

    key, query, out = (_pointwise(w, f"{name}.{part}") for part in ("key", "query", "out"))
    return Attention(key, query, out, *linear("query"), *linear("key"), *linear("value"))


def _condition_stack(
    config: PriorConfig, w: Mapping[str, Array], stored: Mapping[str, LazyArray], *, lazy: bool
) -> ConditionWeights:
    blocks = [f"condition.residual.{n}" for n in range(config.condition_blocks)]
    convs = [f"{block}.{conv}" for block in blocks for conv in ("conv1", "conv2")]
    source: Mapping[str, Array | LazyArray] = w
    if lazy and not is_kept(sum(stored[f"{conv}.weight"].nbytes for conv in convs)):
        source = stored

    residual = []
    for block in blocks:
        conv1, conv2 = f"{block}.conv1", f"{block}.conv2"
        weights = source[f"{conv1}.weight"], source[f"{conv2}.weight"]
        residual.append((weights[0], w[f"{conv1}.bias"], weights[1], w[f"{conv2}.bias"]))
    return ConditionWeights((w["condition.input.weight"], w["condition.input.bias"]), tuple(residual))
