"""The sequential part of a step: gated 1 x 1 blocks, and attention over earlier positions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from latentloop.export.graphs.builder import FLOAT, INT64, GraphBuilder
from latentloop.export.rowstep_weights import Array, Attention, Pointwise, RowStepWeights

MASKED = -1e30  # finite, so that a softmax over nothing but masked positions is not NaN


def linear(g: GraphBuilder, name: str, x: str, weight: Array, bias: Array) -> str:
    """X @ weight + bias; weight [in, out] is a two-dimensional constant, which ONNX Runtime packs once."""
    return g.op("Add", g.op("MatMul", x, g.weight(name, weight)), g.weight(f"{name}_bias", bias))


def add_pointwise(
    g: GraphBuilder, name: str, block: Pointwise, x: str, label: str | None, auxiliary: str | None = None
) -> str:
    """A gated 1 x 1 block on x [B, width]; label [B, 2 width], auxiliary [B, attention channels]."""
    inner = linear(g, f"{name}.conv1", g.op("Elu", x), block.conv1, block.conv1_bias)
    if auxiliary is not None and block.auxiliary is not None:
        matrix = g.weight(f"{name}.auxiliary", block.auxiliary)
        inner = g.op("Add", inner, g.op("MatMul", g.op("Elu", auxiliary), matrix))
    out = linear(g, f"{name}.conv2", g.op("Elu", inner), block.conv2, block.conv2_bias)
    if label is not None:
        out = g.op("Add", out, label)
    return g.op("Add", x, g.glu(out, 1))


def add_attention(
    g: GraphBuilder,
    w: RowStepWeights,
    level: str,
    b: int,
    block: Attention,
    entered: str,
    out: str,
    labels: Iterator[str],
) -> str:
    """One block's attention: entered and out [1, B, C] are the block's input and output -> [1, B, C]."""
    c = w.config
    name = f"{level}.blocks.{b}"
    width, d = c.attention_channels, c.attention_channels // c.heads
    masks = _masks(g, w)
    first = g.constant([0])
    entered, out = g.op("Squeeze", entered, first), g.op("Squeeze", out, first)
    key_in = g.op("Concat", entered, out, "background", axis=1)
    key_out = add_pointwise(g, f"{name}.key", block.key, key_in, next(labels, None))
    query_in = g.op("Concat", out, "background", axis=1)
    query_out = add_pointwise(g, f"{name}.query", block.query, query_in, next(labels, None))
    scale = 1 / np.sqrt(d)
    # Keys and values of this column are for later ones: they leave for the row's staging memory.
    key = linear(g, f"{name}.attention.key", key_out, block.key_map, block.key_bias)
    value = linear(g, f"{name}.attention.value", key_out, block.value_map, block.value_bias)
    g.output(f"row_keys_next.{b}", key, FLOAT, ["batch", width])
    g.output(f"row_values_next.{b}", value, FLOAT, ["batch", width])
    query = linear(g, f"{name}.attention.query", query_out, block.query_map * scale, block.query_bias * scale)
    attended = _attend(g, w, b, g.reshape(query, [-1, c.heads, 1, d]), *masks)
    mixed = add_pointwise(g, f"{name}.out", block.out, out, next(labels, None), attended)
    return g.op("Unsqueeze", mixed, first)


def _attend(
    g: GraphBuilder, w: RowStepWeights, b: int, query: str, history_mask: str, row_mask: str, not_first: str
) -> str:
    """[B, heads * d]: query [B, heads, 1, d] over the finished rows and the columns before this one."""
    c = w.config
    width, d = c.attention_channels, c.attention_channels // c.heads
    keys = g.input(f"keys.{b}", FLOAT, ["finished", "batch", c.heads, d, c.width])
    values = g.input(f"values.{b}", FLOAT, ["finished", "batch", c.heads, c.width, d])
    row_keys = g.input(f"row_keys.{b}", FLOAT, [c.width, "batch", width])
    row_values = g.input(f"row_values.{b}", FLOAT, [c.width, "batch", width])
    # Scores of the finished rows [S, B, heads, 1, W] move to [B, heads, 1, S, W]; keys and values stay in place.
    scores = g.op("Add", g.op("MatMul", query, keys), history_mask)
    scores = g.reshape(g.op("Transpose", scores, perm=[1, 2, 3, 0, 4]), [0, c.heads, 1, -1])
    row_keys = g.op("Transpose", g.reshape(row_keys, [c.width, -1, c.heads, d]), perm=[1, 2, 3, 0])
    row_scores = g.op("Add", g.op("MatMul", query, row_keys), row_mask)
    weights = g.op("Softmax", g.op("Concat", scores, row_scores, axis=3), axis=3)
    weights = g.op("Mul", weights, not_first)
    finished = g.reshape(g.slice(weights, 0, -c.width, 3), [0, c.heads, 1, -1, c.width])
    finished = g.op("Transpose", finished, perm=[3, 0, 1, 2, 4])
    from_rows = g.sum_axis(g.op("MatMul", finished, values), 0)  # [B, heads, 1, d]
    row_values = g.op("Transpose", g.reshape(row_values, [c.width, -1, c.heads, d]), perm=[1, 2, 0, 3])
    from_this_row = g.op("MatMul", g.slice(weights, -c.width, np.iinfo(np.int64).max, 3), row_values)
    return g.reshape(g.op("Add", from_rows, from_this_row), [-1, width])


def _masks(g: GraphBuilder, w: RowStepWeights) -> tuple[str, str, str]:
    """Shared by all blocks: what is added to history and row scores, and 0 at the first position, 1 elsewhere."""
    c = w.config
    names = ("history_mask", "row_mask", "not_first")
    if any(value.name == "column" for value in g.inputs):
        return names
    column = g.input("column", INT64, [1])
    g.input("background", FLOAT, ["batch", 2])
    zero, masked = g.constant(0.0), g.constant(MASKED)
    entries = g.op("Shape", "keys.0", start=0, end=1)
    index = g.op("Range", g.constant(0), g.op("Squeeze", entries), g.constant(1))
    shaped = g.op("Unsqueeze", index, g.constant([1, 2, 3, 4]))
    g.op("Where", g.op("Equal", shaped, g.constant(0)), masked, zero, name=names[0])
    earlier = g.op("Less", g.constant(list(range(c.width))), column)
    g.op("Where", earlier, zero, masked, name=names[1])
    later_row = g.op("Greater", entries, g.constant(1))
    later_column = g.op("Greater", column, g.constant(0))
    g.op("Cast", g.op("Or", later_row, later_column), to=FLOAT, name=names[2])
    return names
