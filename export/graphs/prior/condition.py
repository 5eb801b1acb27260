"""A prior's ``condition`` graph, which runs once per image."""

from __future__ import annotations

import numpy as np

from latentloop.export.checkpoints.lazy_arrays import Array, LazyArray
from latentloop.export.graphs.builder import WeightStore
from latentloop.export.graphs.prior.graph import PriorGraph
from latentloop.export.specification.rowstep_weights import RowStepWeights


def condition_graph(w: RowStepWeights, store: WeightStore, level: str) -> PriorGraph | None:
    """Builds the graph; returns None for a prior with neither condition nor classes.

    Inputs: ``upper`` [H', W', B] int64 and/or ``labels`` [B] int64. Outputs: ``condition`` [H, ceil(W / 2), B, Cc], of
    which the row graph repeats the columns; ``class_causal`` [L, B, 2 C]; ``class_pointwise`` [B, widths of all 1 x 1
    blocks].
    """
    c = w.config
    if w.condition_stack is None and w.label_embedding is None:
        return None
    g = PriorGraph(w, store, level, "condition")
    if w.condition_stack is not None:
        upper = g.op("Transpose", g.read("upper"), perm=[2, 0, 1])
        depth, values = g.constant(c.condition_codes), g.constant(np.array([0, 1], np.float32))
        x = g.op("OneHot", upper, depth, values, axis=1)
        x = _same_conv(g, x, "condition.input", *w.condition_stack.input)
        for n, (weight1, bias1, weight2, bias2) in enumerate(w.condition_stack.residual):
            name = f"condition.residual.{n}"
            active = g.op("Elu", x)
            inner = _same_conv(g, active, f"{name}.conv1", weight1, bias1)
            gated = g.glu(_same_conv(g, g.op("Elu", inner), f"{name}.conv2", weight2, bias2), 1)
            x = g.op("Add", active if c.inplace else x, gated)
        rows = g.constant([row // 2 for row in range(c.height)])
        x = g.op("Transpose", g.op("Gather", x, rows, axis=2), perm=[2, 3, 0, 1])
        g.write("condition", x)
    if w.label_embedding is not None and w.class_causal is not None:
        labels = g.read("labels")
        embedded = g.op("Gather", g.own_weight("label_embedding", w.label_embedding), labels, axis=0)
        g.write("class_causal", g.op("MatMul", embedded, g.own_weight("class_causal", w.class_causal)))
        joined = [block.label for block in w.pointwise if block.label is not None]
        if joined:
            matrix = g.own_weight("class_pointwise", np.concatenate(joined, axis=1))
            g.write("class_pointwise", g.op("MatMul", embedded, matrix))
    return g


def _same_conv(g: PriorGraph, x: str, name: str, weight: Array | LazyArray, bias: Array) -> str:
    pad = weight.shape[-1] // 2
    parameters = g.own_weight(f"{name}.weight", weight), g.own_weight(f"{name}.bias", bias)
    return g.op("Conv", x, *parameters, pads=[pad] * 4)
