"""Operators for the causal convolutions of all layers: the taps to the left, and the full rows above."""

from __future__ import annotations

from collections.abc import Sequence

from latentloop.export.graphs.builder import GraphBuilder
from latentloop.export.graphs.function import Function
from latentloop.export.graphs.nodes import LAST


def causal_left(g: GraphBuilder, x: str, above: str, weight: str, *, taps: int, columns: int, gated: bool) -> str:
    """Adds the taps to the left of ``columns`` neighbouring columns to ``above`` and activates the sum, for all layers.

    x [taps + columns - 1, L, B, I], above [columns, L, B, O], weight [taps, L, I, O] -> ELU of the sum
    [columns, L, B, O]; with ``gated`` its GLU, a * sigmoid(b) for the halves a and b of O, [columns, L, B, O / 2].
    """
    f = Function("CausalLeftGated" if gated else "CausalLeftElu", ["x", "above", "weight"], g.bits)
    sums = []
    taps_weight = f.weight("weight", (0, 2))
    for column in range(columns):
        window = "x" if columns == 1 else f.slice("x", column, column + taps, 0)
        sums.append(f.sum_axis(f.op("MatMul", window, taps_weight), 0))
    total = f.op("Add", "above", f.stack(sums))
    activated = f.glu(total, 3) if gated else f.op("Elu", total)
    return f.call(g, [x, above, weight], [activated])[0]


def causal_above(
    g: GraphBuilder, rows: Sequence[str], bias: str, weights: Sequence[str], pairs: tuple[str, str] | None = None
) -> tuple[str, str | None]:
    """Convolves the full rows above, for all columns and layers.

    rows: k - 1 tensors [W + 2p, L, B, I], the farthest row first; bias [L, O]; weights: one [k (k - 1) I, O] per layer,
    inputs in the order (column tap, row, channel). Returns the sum [W, L, B, O], and the new partial sums or None.

    ``pairs``, for k = 5: partial sums [W, L, B, O] and the row's number [1] as float. The native operator computes two
    rows together: an even row writes to the partial sums what the next row begins with. The function's body computes
    each row completely and returns the partial sums unchanged.
    """
    kernel, layers = len(rows) + 1, len(weights)
    names = [f"row.{a}" for a in range(len(rows))]
    matrices = [f"weight.{layer}" for layer in range(layers)]
    kind = "CausalAbovePairs" if pairs else "CausalAbove"
    f = Function(kind, [*names, "bias", *(["partial", "row_index"] if pairs else []), *matrices], g.bits)
    per_row = [f.split(name, layers, 1) for name in names]
    sums = []
    for layer, matrix in enumerate(matrices):
        joined = f.op("Concat", *(split[layer] for split in per_row), axis=3)  # [W + 2p, 1, B, (k - 1) I]
        ends = [tap - kernel + 1 or LAST for tap in range(kernel)]  # from the end of the axis
        windows = f.op("Concat", *(f.slice(joined, tap, end, 0) for tap, end in enumerate(ends)), axis=3)
        sums.append(f.op("MatMul", windows, f.weight(matrix)))
    total = sums[0] if layers == 1 else f.op("Concat", *sums, axis=1)
    summed = f.op("Add", total, f.op("Unsqueeze", "bias", f.constant([1])))
    results = [summed, f.op("Identity", "partial")] if pairs else [summed]
    outputs = f.call(g, [*rows, bias, *(pairs or ()), *weights], results, kernel=kernel)
    return outputs[0], outputs[1] if pairs else None
