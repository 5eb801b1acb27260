"""A prior's ``step`` graph, which runs once per column or pair of columns: from the previous codes to the drawn ones.

It equals ``latentloop.export.specification.rowstep`` term by term. Axes: n columns of the step, L causal layers,
B batch, C and R channels, p reach, S entries of the history.
"""

from __future__ import annotations

import numpy as np

from latentloop.bundles.manifest import STEPS
from latentloop.draws.settings import FILTERS
from latentloop.export.graphs.builder import WeightStore
from latentloop.export.graphs.function import operator_name
from latentloop.export.graphs.prior.attention import HISTORY, AttentionHistory
from latentloop.export.graphs.prior.bindings import columns_per_step
from latentloop.export.graphs.prior.causal import causal_left
from latentloop.export.graphs.prior.draw import DrawInputs, draw_code
from latentloop.export.graphs.prior.graph import PriorGraph
from latentloop.export.graphs.prior.pointwise import output_stack
from latentloop.export.graphs.prior.residual import pointwise_conv_chain
from latentloop.export.graphs.whole_operator import make_operator
from latentloop.export.specification.rowstep_weights import Attention, RowStepWeights


def step_graph(w: RowStepWeights, store: WeightStore, level: str, *, filtered: bool, bits: int = 32) -> PriorGraph:
    """Builds the graph for the n columns from j on.

    All causal convolutions are computed at once, then, column by column, the chain of blocks, the logits and the draw.
    A gated layer's output at column j + 1 depends on inputs up to column j - 1 only: conv2 reads the hidden column j,
    which conv1 computes from columns up to j - 1. So one pass over the convolutions' weights suffices for two columns.

    Inputs: ``codes`` [p, B] (columns j - p to j - 1); ``residual`` [p + n - 1, L, B, C] (from column j - p - 1 on);
    ``hidden`` [p - 1, L, B, R] (columns j - p to j - 2; absent if p = 1); ``conv1_above`` [n, L, B, R] from column
    j - 1 on; the row's other outputs at the n columns; with attention the history ``keys.b`` [S, B, heads, d, W],
    ``values.b`` [S, B, heads, W, d] with ``history_mask`` [S, 1, 1, 1, 1] (entry 0 and entries after the row's number
    are masked), this row's ``row_keys.b``, ``row_values.b`` and ``column`` [1, 1]; those of ``DrawInputs``.

    Outputs: ``code`` [n, B], ``logits`` [n, B, K], and the new columns of the state buffers: ``residual_next``
    [n, L, B, C], ``hidden_next`` [n, L, B, R] from column j - 1 on, ``row_keys_next.b``, ``row_values_next.b``
    [n, B, heads * d].
    """
    c = w.config
    columns = columns_per_step(c)
    g = PriorGraph(w, store, level, STEPS[filtered], bits)
    gated = _gated(g, columns)
    codes = g.read("codes")
    g.read("input_above")
    history = AttentionHistory(g) if c.attention else None
    if history is None:
        g.read("mix_above")
    labels = _label_terms(g)
    draw = DrawInputs(g, c.codebook_size, columns, filtered=filtered)
    activated, logits, drawn = [], [], []
    for column in range(columns):
        x = _input_left(g, codes, column)
        x, inputs = _blocks(g, x, gated, labels, history, column)
        activated.append(inputs)
        x = output_stack(g, level, x, w.output, labels[len(labels) - len(w.output) :], inplace=c.inplace)
        head = g.own_weight("logits", w.logits), g.own_weight("logits_bias", w.logits_bias)
        code, column_logits = draw_code(g, x, *head, draw, column)
        drawn.append(code)
        logits.append(column_logits)
        newest = g.op("Unsqueeze", code, g.constant([0]))
        codes = newest if c.reach == 1 else g.op("Concat", g.slice(codes, 1, c.reach, 0), newest, axis=0)
    for name, values in (("residual_next", activated), ("code", drawn), ("logits", logits)):
        g.write(name, g.stack(values))
    if history is not None:
        history.output()
    _make_operator(g, columns, filtered=filtered)
    return g


def _make_operator(g: PriorGraph, columns: int, *, filtered: bool) -> None:
    """Makes the graph the operator ``PriorStep``, which ``kernels/operators/prior_step/step.h`` describes."""
    c = g.config
    inputs = ["codes", "residual", *(["hidden"] if c.reach > 1 else []), "conv1_above", "conv2_above", "input_above"]
    if c.attention:
        inputs += ["background", "history_mask", "column"]
        inputs += [f"{kind}.{b}" for b in range(c.blocks) for kind in HISTORY]
    else:
        inputs.append("mix_above")
    inputs += ["class_pointwise"] if g.w.labels_width else []
    outputs = ["code", "logits", "residual_next", "hidden_next"]
    outputs += [f"row_{kind}_next.{b}" for b in range(c.blocks) for kind in ("keys", "values") if c.attention]
    inputs += ["uniform", "temperature", "forced", *(each.name for each in FILTERS if filtered)]
    make_operator(
        g,
        operator_name("PriorStep", inplace=c.inplace),
        inputs,
        outputs,
        kernel=c.kernel,
        columns=columns,
        blocks=c.blocks,
        layers=c.residual_blocks,
        heads=c.heads if c.attention else 0,
        stages=len(g.w.output),
        labels=int(bool(g.w.labels_width)),
        filtered=int(filtered),
    )


def _gated(g: PriorGraph, columns: int) -> str:
    """Returns the gated outputs [n, L, B, C] of all layers at the step's columns; adds the output ``hidden_next``."""
    p = g.config.reach
    residual, conv1_above, conv2_above = (g.read(name) for name in ("residual", "conv1_above", "conv2_above"))
    left1 = g.own_weight("conv1_left", g.w.conv1_left)
    g.write("hidden_next", causal_left(g, residual, conv1_above, left1, taps=p, columns=columns, gated=False))
    window = "hidden_next" if p == 1 else g.op("Concat", g.read("hidden"), "hidden_next", axis=0)
    left2 = g.own_weight("conv2_left", g.w.conv2_left)
    return causal_left(g, window, conv2_above, left2, taps=p, columns=columns, gated=True)


def _blocks(
    g: PriorGraph, x: str, gated: str, labels: list[str], history: AttentionHistory | None, column: int
) -> tuple[str, str]:
    """Adds all blocks at one column: x [B, C] -> their output [B, C], and ELU of every layer's input [L, B, C]."""
    if history is None:
        return pointwise_conv_chain(g, x, gated, "mix_above", column)
    activated = []
    for b, block in enumerate(g.w.blocks):
        assert isinstance(block, Attention)
        x, inputs = history.attend(b, block, x, gated, labels[3 * b : 3 * b + 3], column)
        activated.append(inputs)
    return x, activated[0] if len(activated) == 1 else g.op("Concat", *activated, axis=0)


def _input_left(g: PriorGraph, codes: str, column: int) -> str:
    """Returns the input stage [B, C] at one column: the row's part plus a look-up for each code to the left [p, B]."""
    c = g.config
    first = np.arange(c.reach).reshape(c.reach, 1) * (c.codebook_size + 1)
    table = g.own_weight("left_table", g.w.left_table.reshape(-1, c.channels))
    terms = g.op("Gather", table, g.op("Add", codes, g.constant(first)), axis=0)
    return g.op("Add", g.sum_axis(terms, 0), g.op("Gather", "input_above", g.constant(column), axis=0))


def _label_terms(g: PriorGraph) -> list[str]:
    """Returns the label term [B, 2 width] of each 1 x 1 gated block, in the step's order; none without labels."""
    sizes = [block.label.shape[1] for block in g.w.pointwise if block.label is not None]
    if not sizes:
        return []
    joined = g.read("class_pointwise")
    if len(sizes) == 1:
        return [joined]
    return g.split_op("Split", len(sizes), joined, g.constant(sizes), axis=1)
