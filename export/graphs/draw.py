"""The draw as graph nodes: logits -> code, as ``latentloop.export.draw`` says it in NumPy."""

from __future__ import annotations

import numpy as np

from latentloop.export.graphs.builder import FLOAT, INT64, GraphBuilder


def add_draw(g: GraphBuilder, logits: str, codebook_size: int, *, filtered: bool) -> str:
    """Adds the draw's inputs and nodes; returns the codes [B] int64.

    Inputs: ``uniform`` [B] (24 random bits / 2^24), ``temperature`` [B], ``forced`` [B] int64 (-1: draw), and with
    ``filtered`` also ``top_k`` [B] int64 and ``top_p`` [B]. Without them no node sorts.
    """
    uniform = g.input("uniform", FLOAT, ["batch"])
    temperature = g.input("temperature", FLOAT, ["batch"])
    forced = g.input("forced", INT64, ["batch"])
    last = g.constant([1])
    scaled = g.op("Div", logits, g.op("Unsqueeze", temperature, last))
    largest = g.op("ReduceMax", scaled, last, keepdims=1)
    mass = g.op("Exp", g.op("Sub", scaled, largest))
    if filtered:
        mass = g.op("Mul", mass, _keep(g, logits, mass, codebook_size))
    cumulative = g.op("CumSum", mass, g.constant(1))
    total = g.slice(cumulative, codebook_size - 1, codebook_size, 1)
    # u < 1 has 24 bits, so u * total rounds to less than total: some code is always found.
    threshold = g.op("Mul", g.op("Unsqueeze", uniform, last), total)
    below = g.op("Cast", g.op("LessOrEqual", cumulative, threshold), to=INT64)
    drawn = g.op("ReduceSum", below, last, keepdims=0)
    is_forced = g.op("GreaterOrEqual", forced, g.constant(0))
    return g.op("Where", is_forced, forced, drawn)


def _keep(g: GraphBuilder, logits: str, mass: str, codebook_size: int) -> str:
    """[B, K] of 0 and 1: the codes within top-k and top-p. Equal logits are ranked by index."""
    top_k = g.input("top_k", INT64, ["batch"])
    top_p = g.input("top_p", FLOAT, ["batch"])
    last = g.constant([1])
    _, order = g.split_op("TopK", 2, logits, g.constant([codebook_size]), axis=1, largest=1, sorted=1)
    ranked = g.op("GatherElements", mass, order, axis=1)
    before = g.op("CumSum", ranked, g.constant(1), exclusive=1)
    total = g.op("ReduceSum", ranked, last, keepdims=1)
    share = g.op("Unsqueeze", top_p, last)
    # At 1 the filter is off: float32 rounding of the sums must not cut the tail.
    is_off = g.op("GreaterOrEqual", share, g.constant(1.0))
    ranks = g.constant(np.arange(codebook_size)[None])
    within_k = g.op("Less", ranks, g.op("Unsqueeze", top_k, last))
    within_p = g.op("Or", g.op("Less", before, g.op("Mul", share, total)), is_off)
    first = g.op("Equal", ranks, g.constant(0))
    keep_ranked = g.op("Cast", g.op("Or", g.op("And", within_k, within_p), first), to=FLOAT)
    # Back to code order: the indices are a permutation, so every element of the first input is overwritten.
    return g.op("ScatterElements", keep_ranked, order, keep_ranked, axis=1)
