"""A block's residual stack at one column, x += each layer's gated output, and the chain of blocks without attention."""

from __future__ import annotations

from collections.abc import Sequence

from latentloop.export.graphs.builder import GraphBuilder
from latentloop.export.graphs.function import Function, operator_name
from latentloop.export.graphs.nodes import Nodes


def add_layers(nodes: Nodes, x: str, gated: str, layers: int, *, inplace: bool) -> tuple[str, str]:
    """x [B, C], gated [layers, B, C] -> the stack's output [B, C], and ELU of every layer's input [layers, B, C].

    ``inplace``: each layer adds to the ELU of its input, which leaves no sum to be accumulated.
    """
    if inplace:
        entered = []
        for added in nodes.unstack(gated, layers):
            entered.append(nodes.op("Elu", x))
            x = nodes.op("Add", entered[-1], added)
        return x, nodes.stack(entered)
    first = nodes.op("Unsqueeze", x, nodes.constant([0]))
    sums = nodes.op("CumSum", nodes.op("Concat", first, gated, axis=0), nodes.constant(0))  # [layers + 1, B, C]
    out = nodes.op("Squeeze", nodes.slice(sums, layers, layers + 1, 0), nodes.constant([0]))
    return out, nodes.op("Elu", nodes.slice(sums, 0, layers, 0))


def mix_chain(
    g: GraphBuilder,
    x: str,
    gated: str,
    mix_above: str,
    weights: Sequence[str],
    *,
    layers: int,
    column: int,
    inplace: bool,
) -> tuple[str, str]:
    """One of the step's columns through all blocks of a prior without attention.

    x [B, C], gated [n, L, B, C], mix_above [n, blocks, 1, C], weights: per block [C, C] -> the output [B, C], and
    ELU of every layer's input [L, B, C].
    """
    blocks = len(weights)
    names = [f"weight.{b}" for b in range(blocks)]
    f = Function(operator_name("MixChain", inplace=inplace), ["x", "gated", "mix_above", *names], g.bits)
    per_block = layers // blocks
    column_gated, above = f.column("gated"), f.column("mix_above")
    out, entered = "x", []
    for b, name in enumerate(names):
        added = column_gated if blocks == 1 else f.slice(column_gated, b * per_block, (b + 1) * per_block, 0)
        out, inputs = add_layers(f, out, added, per_block, inplace=inplace)
        entered.append(inputs)
        share = f.op("Squeeze", above if blocks == 1 else f.slice(above, b, b + 1, 0), f.constant([0]))
        out = f.op("Add", f.op("MatMul", out, f.weight(name)), share)
    joined = entered[0] if blocks == 1 else f.op("Concat", *entered, axis=0)
    found = f.call(g, [x, gated, mix_above, *weights], [out, joined], column=column)
    return found[0], found[1]
