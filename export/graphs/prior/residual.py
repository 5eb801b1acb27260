"""The residual stack of a block at one column, and the chain of blocks of a prior without attention."""

from __future__ import annotations

from latentloop.export.graphs.function import Function, operator_name
from latentloop.export.graphs.nodes import NodeBuilder
from latentloop.export.graphs.prior.graph import PriorGraph
from latentloop.export.specification.rowstep_weights import PointwiseConv


def add_layers(nodes: NodeBuilder, x: str, gated: str, layers: int, *, inplace: bool) -> tuple[str, str]:
    """Adds the gated outputs of all layers to x, one after the other.

    x [B, C], gated [layers, B, C] -> the stack's output [B, C], and ELU of every layer's input [layers, B, C]. With
    ``inplace`` each layer adds to the ELU of its input, so the sums cannot be accumulated by one CumSum.
    """
    if inplace:
        activated = []
        for layer in nodes.unstack(gated, layers):
            activated.append(nodes.op("Elu", x))
            x = nodes.op("Add", activated[-1], layer)
        return x, nodes.stack(activated)
    first = nodes.op("Unsqueeze", x, nodes.constant([0]))
    sums = nodes.op("CumSum", nodes.op("Concat", first, gated, axis=0), nodes.constant(0))  # [layers + 1, B, C]
    out = nodes.op("Squeeze", nodes.slice(sums, layers, layers + 1, 0), nodes.constant([0]))
    return out, nodes.op("Elu", nodes.slice(sums, 0, layers, 0))


def pointwise_conv_chain(g: PriorGraph, x: str, gated: str, mix_above: str, column: int) -> tuple[str, str]:
    """Computes all blocks of a prior without attention at one of the step's columns; the operator is ``MixChain``.

    x [B, C], gated [n, L, B, C], mix_above [n, blocks, 1, C] (the part of the 1 x 1 convolutions that reads the
    coordinates) -> the output [B, C], and ELU of every layer's input [L, B, C].
    """
    blocks, per_block, inplace = g.config.blocks, g.config.residual_blocks, g.config.inplace
    convs = [block for block in g.w.blocks if isinstance(block, PointwiseConv)]
    weights = [g.own_weight(f"blocks.{b}.mix", conv.weight) for b, conv in enumerate(convs)]
    names = [f"weight.{b}" for b in range(blocks)]
    f = Function(operator_name("MixChain", inplace=inplace), ["x", "gated", "mix_above", *names], g.bits)
    column_gated, above = f.column("gated"), f.column("mix_above")
    out, activated = "x", []
    for b, name in enumerate(names):
        block_gated = column_gated if blocks == 1 else f.slice(column_gated, b * per_block, (b + 1) * per_block, 0)
        out, inputs = add_layers(f, out, block_gated, per_block, inplace=inplace)
        activated.append(inputs)
        background = f.op("Squeeze", above if blocks == 1 else f.slice(above, b, b + 1, 0), f.constant([0]))
        out = f.op("Add", f.op("MatMul", out, f.weight(name)), background)
    joined = activated[0] if blocks == 1 else f.op("Concat", *activated, axis=0)
    outputs = f.call(g, [x, gated, mix_above, *weights], [out, joined], column=column)
    return outputs[0], outputs[1]
