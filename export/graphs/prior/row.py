"""A prior's ``row`` graph, which runs once per row: the terms of the rows above that the row's steps need.

It equals ``latentloop.export.specification.rowstep`` term by term. Axes: W columns, L causal layers, B batch,
C and R channels, k kernel, p reach.
"""

from __future__ import annotations

import numpy as np

from latentloop.export.graphs.builder import FLOAT, INT64, Dim, GraphBuilder, WeightStore
from latentloop.export.graphs.prior.attention import MASKED
from latentloop.export.graphs.prior.bindings import rows_pair_up
from latentloop.export.graphs.prior.causal import causal_above, causal_left
from latentloop.export.specification.rowstep_weights import PointwiseConv, RowStepWeights


def row_graph(w: RowStepWeights, store: WeightStore, level: str, *, bits: int = 32) -> GraphBuilder:
    """Builds the graph: every layer's sum over the rows above, for all columns of row ``row`` [1] int64.

    Inputs: ``codes_above.a`` [W + 2p, B] of the p rows above (a = 0 is the farthest); ``residual_above.a``
    [W + 2p, L, B, C] and ``hidden_above.a`` [W + 2p, L, B, R] of the k - 1 rows above; the nearest ``hidden_above``
    lacks the last column, which the graph computes from ``conv1_last`` [1, L, B, R]; the condition's outputs; with
    attention the previous row's ``row_keys.b``, ``row_values.b`` [W, B, heads * d]; if rows pair up, ``conv1_partial``
    and ``conv2_partial`` [W, L, B, O], which the graph updates in place.

    Outputs: the terms that the row's steps read, [W, ...]; ``hidden_last`` [1, L, B, R], the previous row's last
    column; the previous row's keys and values in the layout of the history, ``finished_keys.b`` [B, heads, d, W] and
    ``finished_values.b`` [B, heads, W, d]; and ``history_mask`` [H, 1, 1, 1, 1], 0 for entries with a finished row.
    """
    c = w.config
    p, above = c.reach, c.kernel - 1
    g = GraphBuilder(f"{level}.row", store, bits)
    row = g.input("row", INT64, [1])
    _input_above(g, w, level, row)

    residual_shape: list[Dim] = [c.width + 2 * p, c.layers, "batch", c.channels]
    residual = [g.input(f"residual_above.{a}", FLOAT, residual_shape) for a in range(above)]
    conv1 = _convs_above(g, w, level, "conv1", residual)
    g.output("conv1_above", conv1, FLOAT, [c.width, c.layers, "batch", c.residual_channels])
    conv2 = _convs_above(g, w, level, "conv2", _hidden_above(g, w, level, residual[-1]))
    if w.condition is not None:
        conv2 = g.op("Add", conv2, _condition_term(g, w, level))
    if w.class_causal is not None:
        class_causal = g.input("class_causal", FLOAT, [c.layers, "batch", 2 * c.channels])
        conv2 = g.op("Add", conv2, class_causal)
    g.output("conv2_above", conv2, FLOAT, [c.width, c.layers, "batch", 2 * c.channels])
    if c.attention:
        _finish_row(g, w, row)
    _background(g, w, level, row)
    return g


def _convs_above(g: GraphBuilder, w: RowStepWeights, level: str, conv: str, rows: list[str]) -> str:
    """Adds one of the two convolutions over the rows above -> [W, L, B, O]. Output, if rows pair up: partial sums."""
    c = w.config
    is_first = conv == "conv1"
    bias, matrices = (w.conv1_bias, w.conv1_above) if is_first else (w.conv2_bias, w.conv2_above)
    pairs = None
    shape: list[Dim] = [c.width, c.layers, "batch", c.residual_channels if is_first else 2 * c.channels]
    if rows_pair_up(c):
        index = "row_index" if conv == "conv2" else g.op("Cast", "row", to=FLOAT, name="row_index")
        pairs = g.input(f"{conv}_partial", FLOAT, shape), index
    weights = [g.weight(f"{level}.{conv}_above.{layer}", matrices[layer]) for layer in range(c.layers)]
    total, partial = causal_above(g, rows, g.weight(f"{level}.{conv}_bias", bias), weights, pairs)
    if partial is not None:
        g.output(f"{conv}_partial_next", partial, FLOAT, shape)
    return total


def _hidden_above(g: GraphBuilder, w: RowStepWeights, level: str, last_residual: str) -> list[str]:
    """Returns conv2's inputs in the rows above; computes the nearest row's last column, which its steps leave out."""
    c = w.config
    p, above = c.reach, c.kernel - 1
    rows = []
    for a in range(above):
        columns = c.width + 2 * p if a < above - 1 else c.width + p - 1
        rows.append(g.input(f"hidden_above.{a}", FLOAT, [columns, c.layers, "batch", c.residual_channels]))
    conv1_last = g.input("conv1_last", FLOAT, [1, c.layers, "batch", c.residual_channels])
    window = g.slice(last_residual, c.width - 1, c.width - 1 + p, 0)  # the p columns before the last one
    left = g.weight(f"{level}.conv1_left", w.conv1_left)
    last = causal_left(g, window, conv1_last, left, taps=p, columns=1, gated=False)
    g.output("hidden_last", last, FLOAT, [1, c.layers, "batch", c.residual_channels])
    padding = g.slice(rows[0], c.width + p, c.width + 2 * p, 0)  # zeros
    rows[-1] = g.op("Concat", rows[-1], "hidden_last", padding, axis=0)
    return rows


def _input_above(g: GraphBuilder, w: RowStepWeights, level: str, row: str) -> None:
    """Adds the output ``input_above`` [W, B, C]: the codes above in the input stage of every column, and its biases."""
    c = w.config
    p, k, codes = c.reach, c.kernel, c.codebook_size
    rows = [g.input(f"codes_above.{a}", INT64, [c.width + 2 * p, "batch"]) for a in range(p)]
    above = g.op("Concat", *(g.op("Unsqueeze", r, g.constant([0])) for r in rows), axis=0)  # [p, W + 2p, B]
    windows = [g.op("Unsqueeze", g.slice(above, b, b + c.width, 1), g.constant([1])) for b in range(k)]
    tap_codes = g.op("Concat", *windows, axis=1)  # [p, k, W, B]
    first = np.arange(p * k).reshape(p, k, 1, 1) * (codes + 1)  # the first index of each tap's table
    indices = g.op("Add", tap_codes, g.constant(first))
    table = g.weight(f"{level}.above_table", w.above_table.reshape(-1, c.channels))
    total = g.op("ReduceSum", g.op("Gather", table, indices, axis=0), g.constant([0, 1]), keepdims=0)
    # The shifts of the input stage pad zeros after the bias: row 0 has no rows-above bias, column 0 no left bias.
    left_bias = np.repeat(w.left_bias[None, None], c.width, axis=0)
    left_bias[0] = 0
    total = g.op("Add", total, g.weight(f"{level}.left_bias", left_bias))
    is_below_first = g.op("Cast", g.op("Greater", row, g.constant(0)), to=FLOAT)
    above_bias = g.op("Mul", is_below_first, g.weight(f"{level}.above_bias", w.above_bias))
    g.output("input_above", g.op("Add", total, above_bias), FLOAT, [c.width, "batch", c.channels])


def _condition_term(g: GraphBuilder, w: RowStepWeights, level: str) -> str:
    """Returns the condition's term [W, L, B, 2 C] of the row, computed once per pair of columns."""
    c = w.config
    assert w.condition is not None
    half = c.condition_grid[1]
    condition = g.input("condition", FLOAT, [half, "batch", c.condition_channels])
    product = g.op("MatMul", condition, g.weight(f"{level}.condition", w.condition))  # [W', B, L * 2 C]
    term = g.op("Transpose", g.reshape(product, [half, -1, c.layers, 2 * c.channels]), perm=[0, 2, 1, 3])
    return g.op("Gather", term, g.constant([j // 2 for j in range(c.width)]), axis=0)


def _finish_row(g: GraphBuilder, w: RowStepWeights, row: str) -> None:
    """Adds the outputs ``history_mask``, and the previous row's keys and values in the layout of the history."""
    c = w.config
    entries = g.constant(np.arange(c.height).reshape(-1, 1, 1, 1, 1))
    is_finished = g.op("And", g.op("Greater", entries, g.constant(0)), g.op("LessOrEqual", entries, row))
    mask = g.op("Where", is_finished, g.constant(0.0), g.constant(MASKED))
    g.output("history_mask", mask, FLOAT, [c.height, 1, 1, 1, 1])
    width, d = c.attention_channels, c.attention_channels // c.heads
    for b in range(c.blocks):
        keys: list[Dim] = ["batch", c.heads, d, c.width]
        values: list[Dim] = ["batch", c.heads, c.width, d]
        for kind, perm, shape in (("keys", [1, 2, 3, 0], keys), ("values", [1, 2, 0, 3], values)):
            columns = g.input(f"row_{kind}.{b}", FLOAT, [c.width, "batch", width])
            split = g.op("Transpose", g.reshape(columns, [c.width, -1, c.heads, d]), perm=perm)
            g.output(f"finished_{kind}.{b}", split, FLOAT, shape)


def _background(g: GraphBuilder, w: RowStepWeights, level: str, row: str) -> None:
    """Adds the coordinates' output: ``background`` [W, B, 2] with attention, else ``mix_above`` [W, blocks, 1, C].

    ``mix_above`` is the part of the blocks' 1 x 1 convolutions that reads the coordinates, with the bias.
    """
    c = w.config
    if c.attention:
        coordinates = g.op("Gather", g.weight(f"{level}.background", w.background[:, :, None]), row, axis=0)
        batch = g.op("Shape", "codes_above.0", start=1, end=2)
        shape = g.op("Concat", g.constant([c.width]), batch, g.constant([2]), axis=0)
        coordinates = g.op("Expand", g.op("Squeeze", coordinates, g.constant([0])), shape)
        g.output("background", coordinates, FLOAT, [c.width, "batch", 2])
        return
    convs = [block for block in w.blocks if isinstance(block, PointwiseConv)]
    matrix = g.weight(f"{level}.mix_background", np.concatenate([conv.background for conv in convs], axis=1))
    bias = g.weight(f"{level}.mix_bias", np.concatenate([conv.bias for conv in convs]))
    coordinates = g.op("Gather", g.weight(f"{level}.background", w.background), row, axis=0)  # [1, W, 2]
    terms = g.op("Add", g.op("MatMul", coordinates, matrix), bias)
    shaped = g.reshape(terms, [c.width, c.blocks, 1, c.channels])
    g.output("mix_above", shaped, FLOAT, [c.width, c.blocks, 1, c.channels])
