"""The operator that finds the nearest codeword of each vector."""

from __future__ import annotations

import math

from latentloop.export.graphs.builder import DOUBLE, FLOAT, GraphBuilder
from latentloop.export.graphs.function import Function


def nearest_codebook(g: GraphBuilder, z: str, codebook: str, *, rank: int, channels_first: bool) -> str:
    """Returns the index of each vector's nearest codeword by squared Euclidean distance, the lowest index on ties.

    ``z``: ``rank`` axes, [..., D], or [B, D, ...] if ``channels_first``. ``codebook``: [K, D]. Returns int64 of z's
    shape without D; -1 for a vector that is not finite. A codeword that is not finite is never the nearest.

    The function's body computes z . e_k - |e_k|^2 / 2 for all k; the nearest codeword has the largest value, within the
    rounding error that nearest_codebook/arguments.h states (the body adds the norm last).
    """
    f = Function("NearestCodebook", ["z", "codebook"])
    # These values depend on the codebook alone, so a runtime folds them. They are computed in float64, in which the
    # order of the sum does not matter: in float32 ONNX Runtime computes different half norms for equal codewords.
    wide = f.op("Cast", "codebook", to=DOUBLE)
    minus_half = f.op("Cast", f.constant(-0.5), to=DOUBLE)
    halves = f.op("Cast", f.sum_axis(f.op("Mul", f.op("Mul", wide, minus_half), wide), 1), to=FLOAT)
    lowest, no_index = f.constant(-math.inf), f.constant(-1)
    is_finite = f.op("Greater", halves, lowest)  # false for NaN
    half_norms = f.op("Where", is_finite, halves, lowest)
    is_finite_row = f.op("Unsqueeze", is_finite, f.constant([1]))
    matrix = f.op("Transpose", f.op("Where", is_finite_row, "codebook", f.constant(0.0)), perm=[1, 0])

    rows = f.op("Transpose", "z", perm=[0, *range(2, rank), 1]) if channels_first else "z"
    scores = f.op("Add", f.op("MatMul", rows, matrix), half_norms)
    best = f.op("ArgMax", scores, axis=rank - 1, keepdims=1, select_last_index=0)
    norm = f.op("ReduceSumSquare", rows, f.constant([rank - 1]), keepdims=1)
    is_scored = f.op("Greater", f.op("GatherElements", scores, best, axis=rank - 1), lowest)
    has_nearest = f.op("And", f.op("Less", norm, f.constant(math.inf)), is_scored)
    index = f.op("Squeeze", f.op("Where", has_nearest, best, no_index), f.constant([rank - 1]))
    return f.call(g, [z, codebook], [index], channels_first=int(channels_first))[0]
