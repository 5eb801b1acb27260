"""A prior's ``row`` graph, which runs once per row: the terms of the rows above that the row's steps need.

It equals ``latentloop.export.specification.rowstep`` term by term. Axes: W columns, L causal layers, B batch,
C and R channels, k kernel, p reach.
"""

from __future__ import annotations

import numpy as np

from latentloop.export.checkpoints.lazy_arrays import Array
from latentloop.export.graphs.builder import FLOAT, WeightStore
from latentloop.export.graphs.prior.attention import MASKED
from latentloop.export.graphs.prior.bindings import rows_pair_up
from latentloop.export.graphs.prior.causal import causal_above, causal_left
from latentloop.export.graphs.prior.graph import PriorGraph
from latentloop.export.specification.rowstep_weights import PointwiseConv, RowStepWeights


def row_graph(w: RowStepWeights, store: WeightStore, level: str, *, bits: int = 32) -> PriorGraph:
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
    g = PriorGraph(w, store, level, "row", bits)
    row = g.read("row")
    _input_above(g, row)

    residual = [g.read(f"residual_above.{a}") for a in range(c.kernel - 1)]
    g.write("conv1_above", _convs_above(g, "conv1", residual))
    conv2 = _convs_above(g, "conv2", _hidden_above(g, residual[-1]))
    if w.condition is not None:
        conv2 = g.op("Add", conv2, _condition_term(g, w.condition))
    if w.class_causal is not None:
        conv2 = g.op("Add", conv2, g.read("class_causal"))
    g.write("conv2_above", conv2)
    if c.attention:
        _finish_row(g, row)
    _background(g, row)
    return g


def _convs_above(g: PriorGraph, conv: str, rows: list[str]) -> str:
    """Adds one of the two convolutions over the rows above -> [W, L, B, O]. Output, if rows pair up: partial sums."""
    w = g.w
    bias, matrices = (w.conv1_bias, w.conv1_above) if conv == "conv1" else (w.conv2_bias, w.conv2_above)
    pairs = None
    if rows_pair_up(g.config):
        index = "row_index" if conv == "conv2" else g.op("Cast", "row", to=FLOAT, name="row_index")
        pairs = g.read(f"{conv}_partial"), index
    weights = [g.own_weight(f"{conv}_above.{layer}", matrix) for layer, matrix in enumerate(matrices)]
    total, partial = causal_above(g, rows, g.own_weight(f"{conv}_bias", bias), weights, pairs)
    if partial is not None:
        g.write(f"{conv}_partial_next", partial)
    return total


def _hidden_above(g: PriorGraph, last_residual: str) -> list[str]:
    """Returns conv2's inputs in the rows above; computes the nearest row's last column, which its steps leave out."""
    c, p = g.config, g.config.reach
    rows = [g.read(f"hidden_above.{a}") for a in range(c.kernel - 1)]
    conv1_last = g.read("conv1_last")
    window = g.slice(last_residual, c.width - 1, c.width - 1 + p, 0)  # the p columns before the last one
    left = g.own_weight("conv1_left", g.w.conv1_left)
    g.write("hidden_last", causal_left(g, window, conv1_last, left, taps=p, columns=1, gated=False))
    padding = g.slice(rows[0], c.width + p, c.width + 2 * p, 0)  # zeros
    rows[-1] = g.op("Concat", rows[-1], "hidden_last", padding, axis=0)
    return rows


def _input_above(g: PriorGraph, row: str) -> None:
    """Adds the output ``input_above`` [W, B, C]: the codes above in the input stage of every column, and its biases."""
    c, w = g.config, g.w
    p, k, codes = c.reach, c.kernel, c.codebook_size
    rows = [g.read(f"codes_above.{a}") for a in range(p)]
    above = g.op("Concat", *(g.op("Unsqueeze", r, g.constant([0])) for r in rows), axis=0)  # [p, W + 2p, B]
    windows = [g.op("Unsqueeze", g.slice(above, b, b + c.width, 1), g.constant([1])) for b in range(k)]
    tap_codes = g.op("Concat", *windows, axis=1)  # [p, k, W, B]
    first = np.arange(p * k).reshape(p, k, 1, 1) * (codes + 1)  # the first index of each tap's table
    indices = g.op("Add", tap_codes, g.constant(first))
    table = g.own_weight("above_table", w.above_table.reshape(-1, c.channels))
    total = g.op("ReduceSum", g.op("Gather", table, indices, axis=0), g.constant([0, 1]), keepdims=0)
    # The shifts of the input stage pad zeros after the bias: row 0 has no rows-above bias, column 0 no left bias.
    left_bias = np.repeat(w.left_bias[None, None], c.width, axis=0)
    left_bias[0] = 0
    total = g.op("Add", total, g.own_weight("left_bias", left_bias))
    is_below_first = g.op("Cast", g.op("Greater", row, g.constant(0)), to=FLOAT)
    above_bias = g.op("Mul", is_below_first, g.own_weight("above_bias", w.above_bias))
    g.write("input_above", g.op("Add", total, above_bias))


def _condition_term(g: PriorGraph, matrix: Array) -> str:
    """Returns the condition's term [W, L, B, 2 C] of the row, computed once per pair of columns."""
    c = g.config
    product = g.op("MatMul", g.read("condition"), g.own_weight("condition", matrix))  # [W', B, L * 2 C]
    shaped = g.reshape(product, [c.condition_grid[1], -1, c.layers, 2 * c.channels])
    term = g.op("Transpose", shaped, perm=[0, 2, 1, 3])
    return g.op("Gather", term, g.constant([j // 2 for j in range(c.width)]), axis=0)


def _finish_row(g: PriorGraph, row: str) -> None:
    """Adds the outputs ``history_mask``, and the previous row's keys and values in the layout of the history."""
    c = g.config
    entries = g.constant(np.arange(c.height).reshape(-1, 1, 1, 1, 1))
    is_finished = g.op("And", g.op("Greater", entries, g.constant(0)), g.op("LessOrEqual", entries, row))
    mask = g.op("Where", is_finished, g.constant(0.0), g.constant(MASKED))
    g.write("history_mask", mask)
    for b in range(c.blocks):
        for kind, perm in (("keys", [1, 2, 3, 0]), ("values", [1, 2, 0, 3])):
            split = g.reshape(g.read(f"row_{kind}.{b}"), [c.width, -1, c.heads, c.attention_channels // c.heads])
            g.write(f"finished_{kind}.{b}", g.op("Transpose", split, perm=perm))


def _background(g: PriorGraph, row: str) -> None:
    """Adds the coordinates' output: ``background`` [W, B, 2] with attention, else ``mix_above`` [W, blocks, 1, C].

    ``mix_above`` is the part of the blocks' 1 x 1 convolutions that reads the coordinates, with the bias.
    """
    c, w = g.config, g.w
    if c.attention:
        coordinates = g.op("Gather", g.own_weight("background", w.background[:, :, None]), row, axis=0)
        batch = g.op("Shape", "codes_above.0", start=1, end=2)
        shape = g.op("Concat", g.constant([c.width]), batch, g.constant([2]), axis=0)
        coordinates = g.op("Expand", g.op("Squeeze", coordinates, g.constant([0])), shape)
        g.write("background", coordinates)
        return
    convs = [block for block in w.blocks if isinstance(block, PointwiseConv)]
    matrix = g.own_weight("mix_background", np.concatenate([conv.background for conv in convs], axis=1))
    bias = g.own_weight("mix_bias", np.concatenate([conv.bias for conv in convs]))
    coordinates = g.op("Gather", g.own_weight("background", w.background), row, axis=0)  # [1, W, 2]
    terms = g.op("Add", g.op("MatMul", coordinates, matrix), bias)
    g.write("mix_above", g.reshape(terms, [c.width, c.blocks, 1, c.channels]))
