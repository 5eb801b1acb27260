"""State buffers that can hold 16 bits without further rounding: those that graphs only read for 16-bit products."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from onnx import NodeProto

from latentloop.bundles.manifest import GraphFile
from latentloop.export.tensorrt.inlined_graph import InlinedGraph, is_exact

PRODUCTS = ("MatMul", "Conv", "ConvTranspose")
# Nodes whose outputs hold values of their first input alone (Concat: of all inputs).
MOVES = ("Concat", "Gather", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze")

BoundGraphs = Sequence[tuple[InlinedGraph, GraphFile]]  # with the bindings of the graph's inputs and outputs


def rounds_input(node: NodeProto, index: int) -> bool:
    """Returns whether a node rounds its input ``index`` to 16 bits: the factors of a product."""
    return node.op_type in PRODUCTS and index < 2 and not is_exact(node)


class ReducedReaders:
    """Finds the values of a graph that reach only factors of 16-bit products and 16-bit outputs."""

    def __init__(self, graph: InlinedGraph, outputs: Collection[str]) -> None:
        """``outputs``: the graph's outputs that hold 16 bits."""
        self._graph, self._outputs, self._readers = graph, outputs, graph.readers()
        self._results: dict[str, bool] = {}

    def only_reduced(self, value: str) -> bool:
        """Returns whether every reader of a float32 value rounds it to 16 bits, or only moves it to such readers."""
        if value not in self._results:
            is_float32_output = value in self._graph.outputs and value not in self._outputs
            self._results[value] = not is_float32_output and all(
                rounds_input(node, index) or ((index == 0 or node.op_type == "Concat") and self.moves_reduced(node))
                for node, index in self._readers.get(value, [])
            )
        return self._results[value]

    def moves_reduced(self, node: NodeProto) -> bool:
        """Returns whether a node only moves values, and every reader of its outputs rounds them to 16 bits."""
        return node.op_type in MOVES and all(self.only_reduced(output) for output in node.output)


def reduced_buffers(graphs: BoundGraphs) -> set[str]:
    """Returns the names of a prior's float32 buffers that can hold 16 bits."""
    read = {b.memory for graph, file in graphs for b in file.inputs if graph.inputs[b.name].dtype == "float32"}
    written = {b.memory for _, file in graphs for b in file.outputs}
    candidates = read & written  # the host writes or reads the other buffers
    # A buffer that keeps float32 makes the outputs that are bound to it float32: repeat until nothing changes.
    while excluded := set(_excluded(graphs, candidates)):
        candidates -= excluded
    return candidates


def _excluded(graphs: BoundGraphs, candidates: set[str]) -> Iterable[str]:
    """Yields the candidates that a graph reads as float32."""
    for graph, file in graphs:
        readers = ReducedReaders(graph, {b.name for b in file.outputs if b.memory in candidates})
        for binding in file.inputs:
            if binding.memory in candidates and not readers.only_reduced(binding.name):
                yield binding.memory
