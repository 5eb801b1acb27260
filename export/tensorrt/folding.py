"""What is known when the graph is built is computed then: by ONNX's reference, in NumPy."""

from __future__ import annotations

from onnx import NodeProto, helper
from onnx.reference import ReferenceEvaluator

from latentloop.export.graphs.builder import OPSET
from latentloop.export.graphs.nodes import Array
from latentloop.export.tensorrt.inlined_graph import Constant, Graph

KEPT = "DequantizeLinear"  # an engine is to hold the integers


def fold(graph: Graph) -> None:
    """Replaces every other node whose inputs are constants by its outputs, and drops what is not needed then."""
    kept = []
    for node in graph.nodes:
        if node.op_type == KEPT or not all(value in graph.constants for value in node.input):
            kept.append(node)
            continue
        results = run_node(node, [graph.constants[value].values for value in node.input])
        graph.constants.update(zip(node.output, map(Constant.of, results), strict=True))
    graph.nodes = kept
    graph.prune()


def run_node(node: NodeProto, inputs: list[Array]) -> list[Array]:
    """One node's outputs."""
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(values.dtype), values.shape)
        for name, values in zip(node.input, inputs, strict=True)
    ]
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output]
    unique = {info.name: info for info in infos}
    graph = helper.make_graph([node], "node", list(unique.values()), outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    return list(ReferenceEvaluator(model).run(None, dict(zip(node.input, inputs, strict=True))))
