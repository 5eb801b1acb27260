"""The draw as graph nodes: logits -> code, as ``latentloop.export.specification.draw`` says it in NumPy."""

from __future__ import annotations

import numpy as np

from latentloop.export.graphs.builder import FLOAT, INT64, GraphBuilder
from latentloop.export.graphs.function import Function
from latentloop.export.graphs.nodes import Nodes


class DrawInputs:
    """The draw's inputs, declared once for all columns of a step.

    ``uniform`` [n, B] (24 random bits / 2^24), ``temperature`` [B], ``forced`` [n, B] int64 (-1: draw), and with
    ``filtered`` also ``top_k`` [B] int64 and ``top_p`` [B]. Without them no node sorts.
    """

    def __init__(self, g: GraphBuilder, codebook_size: int, columns: int, *, filtered: bool) -> None:
        self.codebook_size, self.filtered = codebook_size, filtered
        self.uniform = g.input("uniform", FLOAT, [columns, "batch"])
        self.forced = g.input("forced", INT64, [columns, "batch"])
        self.temperature = g.input("temperature", FLOAT, ["batch"])
        if filtered:
            self.top_k = g.input("top_k", INT64, ["batch"])
            self.top_p = g.input("top_p", FLOAT, ["batch"])


def draw_code(g: GraphBuilder, x: str, weight: str, bias: str, inputs: DrawInputs, column: int) -> tuple[str, str]:
    """The logits of one of the step's columns, ELU(x) @ weight + bias, and the draw from them.

    x [B, C], weight [C, K], bias [K] -> codes [B] int64, logits [B, K].
    """
    f = Function("DrawCode", ["x", "weight", "bias", "uniform", "temperature", "forced"], g.bits)
    logits = f.op("Add", f.op("MatMul", f.op("Elu", "x"), f.weight_matrix("weight")), "bias")
    code = _draw(f, logits, f.column("uniform"), "temperature", f.column("forced"), inputs, filtered=False)
    given = [x, weight, bias, inputs.uniform, inputs.temperature, inputs.forced]
    code, logits = f.call(g, given, [code, logits], column=column)
    if inputs.filtered:  # the operator's own draw is for nothing, but its logits are those of a step without filters
        uniform, forced = (
            g.op("Gather", drawn, g.constant(column), axis=0) for drawn in (inputs.uniform, inputs.forced)
        )
        code = _draw(g, logits, uniform, inputs.temperature, forced, inputs, filtered=True)
    return code, logits


def _draw(
    g: Nodes, logits: str, uniform: str, temperature: str, forced: str, inputs: DrawInputs, *, filtered: bool
) -> str:
    """The first code whose cumulative mass exceeds uniform * total, or the forced one; K without a total."""
    last = g.constant([1])
    scaled = g.op("Div", logits, g.op("Unsqueeze", temperature, last))
    largest = g.op("ReduceMax", scaled, last, keepdims=1)
    mass = g.op("Exp", g.op("Sub", scaled, largest))
    if filtered:
        mass = g.op("Mul", mass, _keep(g, logits, mass, inputs))
    cumulative = g.op("CumSum", mass, g.constant(1))
    total = g.slice(cumulative, inputs.codebook_size - 1, inputs.codebook_size, 1)
    # u < 1 has 24 bits, so u * total rounds to less than total: some code is always found.
    threshold = g.op("Mul", g.op("Unsqueeze", uniform, last), total)
    # Not `less or equal`: of logits that are not finite numbers nothing is greater, and the code is K, which is none.
    below = g.op("Cast", g.op("Not", g.op("Greater", cumulative, threshold)), to=INT64)
    drawn = g.op("ReduceSum", below, last, keepdims=0)
    is_forced = g.op("GreaterOrEqual", forced, g.constant(0))
    return g.op("Where", is_forced, forced, drawn)


def _keep(g: Nodes, logits: str, mass: str, inputs: DrawInputs) -> str:
    """[B, K] of 0 and 1: the codes within top-k and top-p. Equal logits are ranked by index."""
    codebook_size = inputs.codebook_size
    last = g.constant([1])
    _, order = g.split_op("TopK", 2, logits, g.constant([codebook_size]), axis=1, largest=1, sorted=1)
    ranked = g.op("GatherElements", mass, order, axis=1)
    before = g.op("CumSum", ranked, g.constant(1), exclusive=1)
    total = g.op("ReduceSum", ranked, last, keepdims=1)
    share = g.op("Unsqueeze", inputs.top_p, last)
    # At 1 the filter is off: float32 rounding of the sums must not cut the tail.
    is_off = g.op("GreaterOrEqual", share, g.constant(1.0))
    ranks = g.constant(np.arange(codebook_size)[None])
    within_k = g.op("Less", ranks, g.op("Unsqueeze", inputs.top_k, last))
    within_p = g.op("Or", g.op("Less", before, g.op("Mul", share, total)), is_off)
    first = g.op("Equal", ranks, g.constant(0))
    keep_ranked = g.op("Cast", g.op("Or", g.op("And", within_k, within_p), first), to=FLOAT)
    # Back to code order: the indices are a permutation, so every element of the first input is overwritten.
    return g.op("ScatterElements", keep_ranked, order, keep_ranked, axis=1)
