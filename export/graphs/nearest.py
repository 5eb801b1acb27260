"""The nearest codeword of each vector, as an operator: the encoder's search of its codebooks."""

from __future__ import annotations

import math

from latentloop.export.graphs.builder import DOUBLE, FLOAT, GraphBuilder
from latentloop.export.graphs.function import Function


def nearest_codebook(g: GraphBuilder, z: str, codebook: str, *, rank: int, channels_first: bool) -> str:
    """The index of the nearest codeword, squared Euclidean, the lowest of equal ones; -1 where a vector is not finite.

    z of ``rank`` dimensions, [..., D] or with ``channels_first`` [B, D, ...], codebook [K, D] -> int64, z without D.
    A codeword that is not finite is never the nearest. The body computes z . e_k - |e_k|^2 / 2 for all k, whose largest
    is the nearest's, within the error that nearest_codebook/arguments.h states: the norm is added last.
    """
    f = Function("NearestCodebook", ["z", "codebook"])
    # Of the codebook alone, so folded into constants when the graph is loaded. In float64, where squares are exact and
    # the order of a sum does not show: in float32 ONNX Runtime gives equal codewords unequal halves.
    wide = f.op("Cast", "codebook", to=DOUBLE)
    halves = f.op(
        "Cast", f.sum_axis(f.op("Mul", f.op("Mul", wide, f.op("Cast", f.constant(-0.5), to=DOUBLE)), wide), 1), to=FLOAT
    )
    lowest, none = f.constant(-math.inf), f.constant(-1)
    is_eligible = f.op("Greater", halves, lowest)  # false for NaN
    half_norms = f.op("Where", is_eligible, halves, lowest)
    column = f.op("Unsqueeze", is_eligible, f.constant([1]))
    table = f.op("Transpose", f.op("Where", column, "codebook", f.constant(0.0)), perm=[1, 0])

    rows = f.op("Transpose", "z", perm=[0, *range(2, rank), 1]) if channels_first else "z"
    scores = f.op("Add", f.op("MatMul", rows, table), half_norms)
    best = f.op("ArgMax", scores, axis=rank - 1, keepdims=1, select_last_index=0)
    norm = f.op("ReduceSumSquare", rows, f.constant([rank - 1]), keepdims=1)
    is_scored = f.op("Greater", f.op("GatherElements", scores, best, axis=rank - 1), lowest)
    is_there = f.op("And", f.op("Less", norm, f.constant(math.inf)), is_scored)
    index = f.op("Squeeze", f.op("Where", is_there, best, none), f.constant([rank - 1]))
    return f.call(g, [z, codebook], [index], channels_first=int(channels_first))[0]
