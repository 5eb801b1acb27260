"""The draw of a code from logits as graph nodes; ``latentloop.draws.reference`` is its NumPy reference."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np

from latentloop.draws.settings import FILTERS
from latentloop.export.graphs.builder import FLOAT, INT64, GraphBuilder
from latentloop.export.graphs.function import Function
from latentloop.export.graphs.nodes import NodeBuilder


class DrawInputs:
    """The draw's graph inputs, shared by all columns of a step.

    ``uniform`` [n, B] (24 random bits / 2^24), ``temperature`` [B], ``forced`` [n, B] int64 (-1: draw), and with
    ``filtered`` also the value of every filter, [B], for which the graph sorts the logits.
    """

    def __init__(self, g: GraphBuilder, codebook_size: int, columns: int, *, filtered: bool) -> None:
        self.codebook_size = codebook_size
        self.uniform = g.input("uniform", FLOAT, [columns, "batch"])
        self.forced = g.input("forced", INT64, [columns, "batch"])
        self.temperature = g.input("temperature", FLOAT, ["batch"])
        self.filters = {
            each.name: g.input(each.name, INT64 if each.is_integer else FLOAT, ["batch"])
            for each in FILTERS
            if filtered
        }


def draw_code(g: GraphBuilder, x: str, weight: str, bias: str, inputs: DrawInputs, column: int) -> tuple[str, str]:
    """Computes the logits of one of the step's columns, ELU(x) @ weight + bias, and draws codes from them.

    x [B, C], weight [C, K], bias [K] -> codes [B] int64, logits [B, K].
    """
    f = Function("DrawCode", ["x", "weight", "bias", "uniform", "temperature", "forced"], g.bits)
    logits = f.op("Add", f.op("MatMul", f.op("Elu", "x"), f.weight("weight")), "bias")
    code = _draw(f, logits, f.column("uniform"), "temperature", f.column("forced"), inputs, filtered=False)
    operands = [x, weight, bias, inputs.uniform, inputs.temperature, inputs.forced]
    code, logits = f.call(g, operands, [code, logits], column=column)
    if inputs.filters:  # the operator's code is not used, but its logits are those of a step without filters
        uniform, forced = (
            g.op("Gather", values, g.constant(column), axis=0) for values in (inputs.uniform, inputs.forced)
        )
        code = _draw(g, logits, uniform, inputs.temperature, forced, inputs, filtered=True)
    return code, logits


def _draw(
    g: NodeBuilder, logits: str, uniform: str, temperature: str, forced: str, inputs: DrawInputs, *, filtered: bool
) -> str:
    """Returns the first code whose cumulative mass exceeds uniform * total, or the forced code; K for NaN logits."""
    last = g.constant([1])
    scaled = g.op("Div", logits, g.op("Unsqueeze", temperature, last))
    largest = g.op("ReduceMax", scaled, last, keepdims=1)
    mass = g.op("Exp", g.op("Sub", scaled, largest))
    if filtered:
        mass = g.op("Mul", mass, _filter(g, logits, mass, inputs))
    cumulative = g.op("CumSum", mass, g.constant(1))
    total = g.slice(cumulative, inputs.codebook_size - 1, inputs.codebook_size, 1)
    # u < 1 has 24 bits, so u * total rounds to less than total, and there is always such a code.
    threshold = g.op("Mul", g.op("Unsqueeze", uniform, last), total)
    # Not `LessOrEqual`: for logits that are not finite no comparison is true, and the code is K, which does not exist.
    below = g.op("Cast", g.op("Not", g.op("Greater", cumulative, threshold)), to=INT64)
    drawn = g.op("ReduceSum", below, last, keepdims=0)
    is_forced = g.op("GreaterOrEqual", forced, g.constant(0))
    return g.op("Where", is_forced, forced, drawn)


def _filter(g: NodeBuilder, logits: str, mass: str, inputs: DrawInputs) -> str:
    """Returns [B, K] with 1 for codes that pass all filters and 0 for others. Equal logits are ranked by index; the
    first rank always passes.
    """
    codebook_size = inputs.codebook_size
    _, order = g.split_op("TopK", 2, logits, g.constant([codebook_size]), axis=1, largest=1, sorted=1)
    ranked = g.op("GatherElements", mass, order, axis=1)
    ranks = g.constant(np.arange(codebook_size)[None])
    passed = [
        PASSES[name](g, ranks, ranked, g.op("Unsqueeze", value, g.constant([1])))
        for name, value in inputs.filters.items()
    ]
    within_all = reduce(lambda one, other: g.op("And", one, other), passed)
    first = g.op("Equal", ranks, g.constant(0))
    allowed = g.op("Cast", g.op("Or", within_all, first), to=FLOAT)  # by rank
    # Back to code order: the indices are a permutation, so every element of the first input is overwritten.
    return g.op("ScatterElements", allowed, order, allowed, axis=1)


def _passes_top_p(g: NodeBuilder, ranks: str, ranked: str, top_p: str) -> str:
    before = g.op("CumSum", ranked, g.constant(1), exclusive=1)
    total = g.op("ReduceSum", ranked, g.constant([1]), keepdims=1)
    # 1 disables the filter: float32 rounding of the sums must not remove the tail.
    is_off = g.op("GreaterOrEqual", top_p, g.constant(1.0))
    return g.op("Or", g.op("Less", before, g.op("Mul", top_p, total)), is_off)


# By filter: whether codes of ``ranks`` [1, K] and masses ``ranked`` [B, K] pass it with the setting [B, 1].
PASSES: dict[str, Callable[[NodeBuilder, str, str, str], str]] = {
    "top_k": lambda g, ranks, ranked, top_k: g.op("Less", ranks, top_k),
    "top_p": _passes_top_p,
    "min_p": lambda g, ranks, ranked, min_p: g.op("GreaterOrEqual", ranked, min_p),  # the largest mass is exp(0) = 1
}
