"""A prior's ``condition`` graph, which runs once per image."""

from __future__ import annotations

import numpy as np

from latentloop.export.graphs.builder import FLOAT, INT64, GraphBuilder, WeightStore
from latentloop.export.specification.rowstep_weights import RowStepWeights


def condition_graph(w: RowStepWeights, store: WeightStore, level: str) -> GraphBuilder | None:
    """Builds the graph; returns None for a prior with neither condition nor classes.

    Inputs: ``upper`` [H', W', B] int64 and/or ``labels`` [B] int64. Outputs: ``condition`` [H, ceil(W / 2), B, Cc], of
    which the row graph repeats the columns; ``class_causal`` [L, B, 2 C]; ``class_pointwise`` [B, widths of all 1 x 1
    blocks].
    """
    c = w.config
    if w.condition_stack is None and w.label_embedding is None:
        return None
    g = GraphBuilder(f"{level}.condition", store)
    if w.condition_stack is not None:
        height, width = c.condition_grid
        upper = g.op("Transpose", g.input("upper", INT64, [height, width, "batch"]), perm=[2, 0, 1])
        depth, values = g.constant(c.condition_codes), g.constant(np.array([0, 1], np.float32))
        x = g.op("OneHot", upper, depth, values, axis=1)
        x = _same_conv(g, x, f"{level}.condition.input", *w.condition_stack.input)
        for n, (weight1, bias1, weight2, bias2) in enumerate(w.condition_stack.residual):
            name = f"{level}.condition.residual.{n}"
            active = g.op("Elu", x)
            inner = _same_conv(g, active, f"{name}.conv1", weight1, bias1)
            gated = g.glu(_same_conv(g, g.op("Elu", inner), f"{name}.conv2", weight2, bias2), 1)
            x = g.op("Add", active if c.inplace else x, gated)
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


def _same_conv(g: GraphBuilder, x: str, name: str, weight: np.ndarray, bias: np.ndarray) -> str:
    pad = weight.shape[-1] // 2
    return g.op("Conv", x, g.weight(f"{name}.weight", weight), g.weight(f"{name}.bias", bias), pads=[pad] * 4)
