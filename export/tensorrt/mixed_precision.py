"""Mixed precision: factors and results of MatMul, Conv and ConvTranspose are rounded to 16 bits; the rest is float32.

A product becomes ``Cast16(product(Cast32(Cast16(a)), Cast32(Cast16(b))))``, which TensorRT builds as a product of
16-bit factors with float32 sums. Without the inner casts TensorRT chooses the precision of the sums, and bfloat16 has
no ConvTranspose; without the outer cast it stores the weights in 32 bits.
"""

from __future__ import annotations

from collections.abc import Collection
from copy import deepcopy

from onnx import NodeProto, TensorProto, helper

from latentloop.bundles.codec import Tensor
from latentloop.export.tensorrt.buffer_precision import ReducedReaders, rounds_input
from latentloop.export.tensorrt.inlined_graph import ELEMENTS, Constant, InlinedGraph


def to_mixed_precision(graph: InlinedGraph, dtype: str, inputs: Collection[str], outputs: Collection[str]) -> None:
    """Rewrites the graph in place for ``dtype``, float16 or bfloat16.

    ``inputs``, ``outputs``: names of the graph's inputs and outputs that get this type.
    """
    _Rewriter(graph, dtype, inputs, outputs).rewrite()


class _Rewriter:
    """Collects the new nodes.

    A float32 value of the graph exists in float32, in 16 bits ("reduced"), or both; a cast is added when it is first
    needed.
    """

    def __init__(self, graph: InlinedGraph, dtype: str, inputs: Collection[str], outputs: Collection[str]) -> None:
        self.graph, self.dtype, self.element = graph, dtype, ELEMENTS[dtype]
        self.reduced_inputs, self.reduced_outputs = inputs, outputs
        self.elements = graph.elements()
        self.readers = ReducedReaders(graph, outputs)
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, Constant] = {}
        # Names of a value in 16 bits, and in float32 after rounding to 16 bits; the unrounded value keeps its name.
        self.reduced: dict[str, str] = {name: name for name in inputs}
        self.rounded: dict[str, str] = {}
        self.only_reduced = set(inputs)  # values that do not exist unrounded

    def rewrite(self) -> None:
        """Rewrites the nodes, gives the outputs their names and types, and the graph the new nodes."""
        graph = self.graph
        for node in graph.nodes:
            self._add(node)
        renamed: dict[str, str] = {}
        for name in graph.outputs:
            source = self._as_reduced(name) if name in self.reduced_outputs else self._as_float32(name)
            if source != name:
                renamed |= {name: f"{name}.made", source: name}
        for node in self.nodes:
            node.input[:] = [renamed.get(value, value) for value in node.input]
            node.output[:] = [renamed.get(value, value) for value in node.output]
        graph.nodes = self.nodes
        graph.constants |= self.constants
        for tensors, names in ((graph.inputs, self.reduced_inputs), (graph.outputs, self.reduced_outputs)):
            tensors.update((name, Tensor(name, self.dtype, tensors[name].shape)) for name in names)
        graph.prune()

    def _add(self, node: NodeProto) -> None:
        """Adds the node in its new form, after the casts that it needs."""
        rewritten = deepcopy(node)
        if rounds_input(node, 0):
            self._add_product(rewritten)
        elif self._is_float(node.output[0]) and self.readers.moves_reduced(node):
            for index, value in enumerate(node.input):
                if self._is_float(value):
                    rewritten.input[index] = self._as_reduced(value)
            self.nodes.append(rewritten)
            self.reduced |= {name: name for name in node.output}
            self.only_reduced.update(node.output)
        else:
            rewritten.input[:] = [self._as_float32(value) for value in node.input]
            self.nodes.append(rewritten)

    def _add_product(self, node: NodeProto) -> None:
        result = node.output[0]
        for index, value in enumerate(node.input):
            node.input[index] = self._as_rounded(value) if index < 2 else self._as_float32(value)
        node.output[0] = f"{result}.product"
        self.nodes.append(node)
        self.reduced[result] = self._cast(node.output[0], self.element, f"{result}.{self.dtype}")
        self.only_reduced.add(result)

    def _as_reduced(self, value: str) -> str:
        if value not in self.reduced:
            name = self.reduced[value] = f"{value}.{self.dtype}"
            if value in self.graph.constants:
                self.constants[name] = Constant(self.graph.constants[value].values, self.element)
            else:
                self._cast(value, self.element, name)
        return self.reduced[value]

    def _as_rounded(self, value: str) -> str:
        if value not in self.rounded:
            self.rounded[value] = self._cast(self._as_reduced(value), TensorProto.FLOAT, f"{value}.rounded")
        return self.rounded[value]

    def _as_float32(self, value: str) -> str:
        return self._as_rounded(value) if value in self.only_reduced else value

    def _cast(self, value: str, element: int, name: str) -> str:
        self.nodes.append(helper.make_node("Cast", [value], [name], to=element))
        return name

    def _is_float(self, value: str) -> bool:
        return self.elements.get(value) == TensorProto.FLOAT
