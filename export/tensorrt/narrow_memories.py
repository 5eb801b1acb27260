"""Which memories lose nothing if they hold 16 bits: those that every graph only moves into products of 16 bits."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from onnx import NodeProto

from latentloop.engines.engine_set import EngineBinding
from latentloop.export.tensorrt.inlined_graph import Graph, is_exact

PRODUCTS = ("MatMul", "Conv", "ConvTranspose")
# Nodes whose outputs hold values of their first input alone (of a Concat: of all inputs).
MOVES = ("Concat", "Gather", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze")


def is_narrowed(node: NodeProto, place: int) -> bool:
    """Whether a node rounds the input at that place to 16 bits: a product's factors."""
    return node.op_type in PRODUCTS and place < 2 and not is_exact(node)


class Movement:
    """Which values of a graph reach nothing but factors of products and outputs that hold 16 bits."""

    def __init__(self, graph: Graph, outputs: Collection[str]) -> None:
        """``outputs``: the graph's outputs that hold 16 bits."""
        self._graph, self._outputs, self._readers = graph, outputs, graph.readers()
        self._known: dict[str, bool] = {}

    def only_narrow(self, value: str) -> bool:
        """Whether every reader of a float32 value takes it at 16 bits."""
        if value not in self._known:
            is_wide_output = value in self._graph.outputs and value not in self._outputs
            self._known[value] = not is_wide_output and all(
                is_narrowed(node, place) or self._is_moved(node, place) for node, place in self._readers.get(value, [])
            )
        return self._known[value]

    def _is_moved(self, node: NodeProto, place: int) -> bool:
        is_data = place == 0 or node.op_type == "Concat"
        return node.op_type in MOVES and is_data and all(self.only_narrow(output) for output in node.output)


def narrow_memories(graphs: Sequence[tuple[Graph, Sequence[EngineBinding], Sequence[EngineBinding]]]) -> set[str]:
    """The float32 memories of a prior that can hold 16 bits. ``graphs``: each with its inputs' and outputs' ones."""
    read = {b.memory for _, inputs, _ in graphs for b in inputs if b.dtype == "float32"}
    written = {b.memory for _, _, outputs in graphs for b in outputs}
    found = read & written  # a memory that no graph writes is the host's, and so is one that none reads
    while True:
        lost = set(_lost(graphs, found))
        if not lost:
            return found
        found -= lost


def _lost(
    graphs: Iterable[tuple[Graph, Sequence[EngineBinding], Sequence[EngineBinding]]], candidates: set[str]
) -> Iterable[str]:
    """The candidates that some graph reads otherwise."""
    for graph, inputs, outputs in graphs:
        movement = Movement(graph, {b.name for b in outputs if b.memory in candidates})
        for binding in inputs:
            if binding.memory in candidates and not movement.only_narrow(binding.name):
                yield binding.memory
