"""A prior's three graphs: ``condition`` once per image, ``row`` once per row, ``step`` once per column.

They equal ``latentloop.export.rowstep`` term by term. Inputs and outputs follow a protocol that the manifest states
(``latentloop.export.graphs.protocol``), so that a host only binds memory and turns the crank. Axes: W columns,
L causal layers, B batch, p reach, S finished rows plus one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from latentloop.export.graphs.builder import FLOAT, INT64, Dim, GraphBuilder, WeightStore
from latentloop.export.graphs.chain import add_attention, add_pointwise
from latentloop.export.graphs.draw import add_draw
from latentloop.export.rowstep_weights import Mix, RowStepWeights


def condition_graph(w: RowStepWeights, store: WeightStore, level: str) -> GraphBuilder | None:
    """What is fixed for an image, or None for a prior with neither condition nor classes.

    Inputs: ``upper`` [B, H', W'] int64 and/or ``labels`` [B] int64. Outputs: ``condition`` [H, ceil(W / 2), B, Cc]
    (rows repeated, columns not yet), ``class_causal`` [L, B, 2 C], ``class_pointwise`` [B, all 1 x 1 widths].
    """
    c = w.config
    if w.condition_stack is None and w.label_embedding is None:
        return None
    g = GraphBuilder(f"{level}.condition", store)
    if w.condition_stack is not None:
        height, width = c.condition_grid
        upper = g.input("upper", INT64, ["batch", height, width])
        depth, values = g.constant(c.condition_codes), g.constant(np.array([0, 1], np.float32))
        x = g.op("OneHot", upper, depth, values, axis=1)
        x = _same_conv(g, x, f"{level}.condition.input", *w.condition_stack.input)
        for n, (weight1, bias1, weight2, bias2) in enumerate(w.condition_stack.residual):
            name = f"{level}.condition.residual.{n}"
            inner = _same_conv(g, g.op("Elu", x), f"{name}.conv1", weight1, bias1)
            gated = g.glu(_same_conv(g, g.op("Elu", inner), f"{name}.conv2", weight2, bias2), 1)
            x = g.op("Add", x, gated)
        rows = g.constant([row // 2 for row in range(c.height)])
        x = g.op("Transpose", g.op("Gather", x, rows, axis=2), perm=[2, 3, 0, 1])
        g.output("condition", x, FLOAT, [c.height, width, "batch", c.condition_channels])
    if w.label_embedding is not None and w.class_causal is not None:
        labels = g.input("labels", INT64, ["batch"])
        embedded = g.op("Gather", g.weight(f"{level}.label_embedding", w.label_embedding), labels, axis=0)
        causal = g.op("MatMul", embedded, g.weight(f"{level}.class_causal", w.class_causal))
        g.output("class_causal", causal, FLOAT, [c.layers, "batch", 2 * c.channels])
        joined = [block.label for block in w.pointwise if block.label is not None]
        if joined:
            matrix = np.concatenate(joined, axis=1)
            pointwise = g.op("MatMul", embedded, g.weight(f"{level}.class_pointwise", matrix))
            g.output("class_pointwise", pointwise, FLOAT, ["batch", matrix.shape[1]])
    return g


def row_graph(w: RowStepWeights, store: WeightStore, level: str) -> GraphBuilder:
    """Every layer's sum over the finished rows, for all columns of row ``row`` [1] int64.

    Inputs: ``codes_above.a`` [W + 2p, B] for the p rows above (a = 0 the farthest), ``residual_above.a``
    [W + 2p, L, B, C] and ``hidden_above.a`` [W + 2p, L, B, R] for the k - 1 rows above, the condition's outputs, and
    with attention the last row's ``row_keys.b``, ``row_values.b`` [W, B, heads * d]. Outputs: what every step of the
    row reads, [W, …]; and the last row's keys and values as history, ``finished_keys.b`` [B, heads, d, W] and
    ``finished_values.b`` [B, heads, W, d].
    """
    c = w.config
    g = GraphBuilder(f"{level}.row", store)
    row = g.input("row", INT64, [1])
    _input_above(g, w, level, row)
    conv1 = _convs_above(g, w, level, "residual", c.channels)
    bias1 = g.weight(f"{level}.conv1_bias", w.conv1_bias[:, None])
    conv1 = g.op("Add", conv1, bias1)
    g.output("conv1_above", conv1, FLOAT, [c.width, c.layers, "batch", c.residual_channels])
    conv2 = _convs_above(g, w, level, "hidden", c.residual_channels)
    conv2 = g.op("Add", conv2, g.weight(f"{level}.conv2_bias", w.conv2_bias[:, None]))
    if w.condition is not None:
        conv2 = g.op("Add", conv2, _condition_term(g, w, level))
    if w.class_causal is not None:
        class_causal = g.input("class_causal", FLOAT, [c.layers, "batch", 2 * c.channels])
        conv2 = g.op("Add", conv2, class_causal)
    g.output("conv2_above", conv2, FLOAT, [c.width, c.layers, "batch", 2 * c.channels])
    if c.attention:
        _finish_row(g, w)
        coordinates = g.op("Gather", g.weight(f"{level}.background", w.background[:, :, None]), row, axis=0)
        batch = g.op("Shape", "codes_above.0", start=1, end=2)
        shape = g.op("Concat", g.constant([c.width]), batch, g.constant([2]), axis=0)
        coordinates = g.op("Expand", g.op("Squeeze", coordinates, g.constant([0])), shape)
        g.output("background", coordinates, FLOAT, [c.width, "batch", 2])
    else:
        mixes = [block for block in w.blocks if isinstance(block, Mix)]
        matrix = g.weight(f"{level}.mix_background", np.concatenate([mix.background for mix in mixes], axis=1))
        bias = g.weight(f"{level}.mix_bias", np.concatenate([mix.bias for mix in mixes]))
        coordinates = g.op("Gather", g.weight(f"{level}.background", w.background), row, axis=0)  # [1, W, 2]
        mixed = g.op("Add", g.op("MatMul", coordinates, matrix), bias)
        shaped = g.reshape(mixed, [c.width, c.blocks, 1, c.channels])
        g.output("mix_above", shaped, FLOAT, [c.width, c.blocks, 1, c.channels])
    return g


def step_graph(w: RowStepWeights, store: WeightStore, level: str, *, filtered: bool) -> GraphBuilder:
    """One column: all causal convolutions at once, then the chain from the last codes to the draw.

    Inputs: ``codes`` [p, B], ``residual`` [p, L, B, C], ``hidden`` [p, L, B, R] of the columns before; the row's
    outputs at this column; with attention the history ``keys.b`` [S, B, heads, d, W], ``values.b``
    [S, B, heads, W, d] (entry 0 is void), this row's ``row_keys.b``, ``row_values.b`` and ``column`` [1]; the draw's.
    Outputs: ``code`` [B], ``logits`` [B, K], and the column's own entries of every state: ``residual_next``
    [L, B, C], ``hidden_next`` [L, B, R], ``row_keys_next.b``, ``row_values_next.b`` [B, heads * d].
    """
    c = w.config
    p, n = c.reach, c.residual_blocks
    g = GraphBuilder(f"{level}.step{'_filtered' if filtered else ''}", store)
    residual = g.input("residual", FLOAT, [p, c.layers, "batch", c.channels])
    hidden = g.input("hidden", FLOAT, [p, c.layers, "batch", c.residual_channels])
    conv1_above = g.input("conv1_above", FLOAT, [c.layers, "batch", c.residual_channels])
    conv2_above = g.input("conv2_above", FLOAT, [c.layers, "batch", 2 * c.channels])
    left1 = g.op("MatMul", residual, g.weight(f"{level}.conv1_left", w.conv1_left))
    inner = g.op("Elu", g.op("Add", conv1_above, g.sum_axis(left1, 0)))
    g.output("hidden_next", inner, FLOAT, [c.layers, "batch", c.residual_channels])
    left2 = g.op("MatMul", hidden, g.weight(f"{level}.conv2_left", w.conv2_left))
    gated = g.glu(g.op("Add", conv2_above, g.sum_axis(left2, 0)), 2)

    x = _input_left(g, w, level)  # [1, B, C]
    labels = _label_terms(g, w)
    entered_layers = []
    for b, block in enumerate(w.blocks):
        added = gated if c.blocks == 1 else g.slice(gated, b * n, (b + 1) * n, 0)
        sums = g.op("CumSum", g.op("Concat", x, added, axis=0), g.constant(0))
        entered_layers.append(g.slice(sums, 0, n, 0))
        out = g.slice(sums, n, n + 1, 0)
        if isinstance(block, Mix):
            mixed = g.op("MatMul", out, g.weight(f"{level}.blocks.{b}.mix", block.weight))
            x = g.op("Add", mixed, _mix_above(g, w, b))
        else:
            x = add_attention(g, w, level, b, block, x, out, labels)
    entered = entered_layers[0] if c.blocks == 1 else g.op("Concat", *entered_layers, axis=0)
    g.output("residual_next", g.op("Elu", entered), FLOAT, [c.layers, "batch", c.channels])

    x = g.op("Squeeze", x, g.constant([0]))
    for index, stage in enumerate(w.output):
        x = add_pointwise(g, f"{level}.output.{index}", stage, x, next(labels, None))
    product = g.op("MatMul", g.op("Elu", x), g.weight(f"{level}.logits", w.logits))
    logits = g.op("Add", product, g.weight(f"{level}.logits_bias", w.logits_bias), name="logits")
    code = add_draw(g, logits, c.codebook_size, filtered=filtered)
    g.output("code", code, INT64, ["batch"])
    g.output("logits", logits, FLOAT, ["batch", c.codebook_size])
    return g


def _same_conv(g: GraphBuilder, x: str, name: str, weight: np.ndarray, bias: np.ndarray) -> str:
    pad = weight.shape[-1] // 2
    return g.op("Conv", x, g.weight(f"{name}.weight", weight), g.weight(f"{name}.bias", bias), pads=[pad] * 4)


def _input_above(g: GraphBuilder, w: RowStepWeights, level: str, row: str) -> None:
    """Output ``input_above`` [W, B, C]: what the codes above add to the input of every column, with its biases."""
    c = w.config
    p, k, codes = c.reach, c.kernel, c.codebook_size
    rows = [g.input(f"codes_above.{a}", INT64, [c.width + 2 * p, "batch"]) for a in range(p)]
    above = g.op("Concat", *(g.op("Unsqueeze", r, g.constant([0])) for r in rows), axis=0)  # [p, W + 2p, B]
    windows = [g.op("Unsqueeze", g.slice(above, b, b + c.width, 1), g.constant([1])) for b in range(k)]
    looked_up = g.op("Concat", *windows, axis=1)  # [p, k, W, B]
    first = np.arange(p * k).reshape(p, k, 1, 1) * (codes + 1)  # where each tap's table begins
    indices = g.op("Add", looked_up, g.constant(first))
    table = g.weight(f"{level}.above_table", w.above_table.reshape(-1, c.channels))
    found = g.op("ReduceSum", g.op("Gather", table, indices, axis=0), g.constant([0, 1]), keepdims=0)
    # The shifts of the input stage pad zeros after the bias: none for row 0, and no left bias for column 0.
    left_bias = np.repeat(w.left_bias[None, None], c.width, axis=0)
    left_bias[0] = 0
    found = g.op("Add", found, g.weight(f"{level}.left_bias", left_bias))
    is_below_first = g.op("Cast", g.op("Greater", row, g.constant(0)), to=FLOAT)
    above_bias = g.op("Mul", is_below_first, g.weight(f"{level}.above_bias", w.above_bias))
    g.output("input_above", g.op("Add", found, above_bias), FLOAT, [c.width, "batch", c.channels])


def _convs_above(g: GraphBuilder, w: RowStepWeights, level: str, state: str, channels: int) -> str:
    """[W, L, B, O]: the k - 1 full rows of one causal convolution per layer, each as one matrix product."""
    c = w.config
    conv, weight = ("conv1", w.conv1_above) if state == "residual" else ("conv2", w.conv2_above)
    shape: list[Dim] = [c.width + 2 * c.reach, c.layers, "batch", channels]
    rows = [g.input(f"{state}_above.{a}", FLOAT, shape) for a in range(c.kernel - 1)]
    per_row = [g.split(row, c.layers, 1) for row in rows]
    sums = []
    for layer in range(c.layers):
        joined = g.op("Concat", *(split[layer] for split in per_row), axis=3)  # [W + 2p, 1, B, (k - 1) I]
        windows = g.op("Concat", *(g.slice(joined, b, b + c.width, 0) for b in range(c.kernel)), axis=3)
        matrix = g.weight(f"{level}.{conv}_above.{layer}", weight[layer])
        sums.append(g.op("MatMul", windows, matrix))
    return sums[0] if c.layers == 1 else g.op("Concat", *sums, axis=1)


def _condition_term(g: GraphBuilder, w: RowStepWeights, level: str) -> str:
    """[W, L, B, 2 C] from the row's condition [ceil(W / 2), B, Cc]: computed once per pair of columns."""
    c = w.config
    assert w.condition is not None
    half = c.condition_grid[1]
    condition = g.input("condition", FLOAT, [half, "batch", c.condition_channels])
    product = g.op("MatMul", condition, g.weight(f"{level}.condition", w.condition))  # [W', B, L * 2 C]
    term = g.op("Transpose", g.reshape(product, [half, -1, c.layers, 2 * c.channels]), perm=[0, 2, 1, 3])
    return g.op("Gather", term, g.constant([j // 2 for j in range(c.width)]), axis=0)


def _finish_row(g: GraphBuilder, w: RowStepWeights) -> None:
    """The last row's keys and values, laid out as one entry of the history."""
    c = w.config
    width, d = c.attention_channels, c.attention_channels // c.heads
    for b in range(c.blocks):
        keys: list[Dim] = ["batch", c.heads, d, c.width]
        values: list[Dim] = ["batch", c.heads, c.width, d]
        for kind, perm, shape in (("keys", [1, 2, 3, 0], keys), ("values", [1, 2, 0, 3], values)):
            staged = g.input(f"row_{kind}.{b}", FLOAT, [c.width, "batch", width])
            split = g.op("Transpose", g.reshape(staged, [c.width, -1, c.heads, d]), perm=perm)
            g.output(f"finished_{kind}.{b}", split, FLOAT, shape)


def _input_left(g: GraphBuilder, w: RowStepWeights, level: str) -> str:
    """[1, B, C]: the input stage at this column, the row's part plus a look-up per code to the left."""
    c = w.config
    p = c.reach
    codes = g.input("codes", INT64, [p, "batch"])
    above = g.input("input_above", FLOAT, ["batch", c.channels])
    first = np.arange(p).reshape(p, 1) * (c.codebook_size + 1)
    table = g.weight(f"{level}.left_table", w.left_table.reshape(-1, c.channels))
    found = g.op("Gather", table, g.op("Add", codes, g.constant(first)), axis=0)
    summed = g.op("ReduceSum", found, g.constant([0]), keepdims=1)
    return g.op("Add", summed, above)


def _mix_above(g: GraphBuilder, w: RowStepWeights, b: int) -> str:
    """[1, C]: one block's share of the row's output ``mix_above`` [blocks, 1, C]."""
    c = w.config
    if b == 0:
        g.input("mix_above", FLOAT, [c.blocks, 1, c.channels])
    return g.slice("mix_above", b, b + 1, 0) if c.blocks > 1 else "mix_above"


def _label_terms(g: GraphBuilder, w: RowStepWeights) -> Iterator[str]:
    """One [B, 2 width] term per 1 x 1 gated block, in the order in which the step meets them."""
    sizes = [block.label.shape[1] for block in w.pointwise if block.label is not None]
    if not sizes:
        return iter(())
    joined = g.input("class_pointwise", FLOAT, ["batch", sum(sizes)])
    if len(sizes) == 1:
        return iter([joined])
    return iter(g.split_op("Split", len(sizes), joined, g.constant(sizes), axis=1))
