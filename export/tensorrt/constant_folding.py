"""Constant folding, with ONNX's reference evaluator in NumPy."""

from __future__ import annotations

from onnx import NodeProto, helper
from onnx.reference import ReferenceEvaluator

from latentloop.export.graphs.builder import OPSET
from latentloop.export.graphs.nodes import Array
from latentloop.export.tensorrt.inlined_graph import Constant, InlinedGraph

NOT_FOLDED = "DequantizeLinear"  # so that an engine holds weights as integers


def fold_constants(graph: InlinedGraph) -> None:
    """Computes every node whose inputs are all constants, replaces it by constants, and removes unused constants."""
    nodes = []
    for node in graph.nodes:
        if node.op_type == NOT_FOLDED or not all(value in graph.constants for value in node.input):
            nodes.append(node)
            continue
        results = run_node(node, [graph.constants[value].values for value in node.input])
        graph.constants.update(zip(node.output, map(Constant.of, results), strict=True))
    graph.nodes = nodes
    graph.prune()


def run_node(node: NodeProto, inputs: list[Array]) -> list[Array]:
    """Runs one node; returns its outputs."""
    values = dict(zip(node.input, inputs, strict=True))
    opsets = [helper.make_opsetid("", OPSET)]
    function = helper.make_function("", "node", list(values), list(node.output), [node], opsets)
    return list(ReferenceEvaluator(function).run(None, values, attributes={}))
