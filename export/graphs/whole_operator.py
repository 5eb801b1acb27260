"""A whole graph as one operator, whose definition is the graph's nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onnx import helper

from latentloop.export.graphs.builder import OPERATORS, OPSET, GraphBuilder


def make_operator(g: GraphBuilder, kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: int) -> None:
    """Replaces all nodes of ``g`` by one node, an operator with these nodes as its function.

    ``inputs`` and ``outputs``: those of the graph in the operator's order; its inputs end with the weights, in the
    order in which they were added. ``attributes`` are for the native operator. The functions that the nodes call stay,
    so a library that knows only these replaces them.
    """
    assert sorted(inputs) == sorted(value.name for value in g.inputs), kind
    assert sorted(outputs) == sorted(value.name for value in g.outputs), kind
    constants = [
        helper.make_node("Constant", [], [name], name=name, value=tensor) for name, tensor in g.constants.items()
    ]
    operands = [*inputs, *g.weights]
    attributes["bits"] = g.bits
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(OPERATORS, 1)]
    nodes = [*constants, *g.nodes]
    g.define(helper.make_function(OPERATORS, kind, operands, outputs, nodes, opsets, sorted(attributes)))
    node_attributes: dict[str, Any] = {"domain": OPERATORS, **attributes}
    g.nodes = [helper.make_node(kind, operands, outputs, name=kind, **node_attributes)]
    g.constants = {}
