"""Products in 16 bits: factors and results of MatMul, Conv and ConvTranspose are rounded, all else stays float32.

A product is written as ``Cast16(product(Cast32(Cast16(a)), Cast32(Cast16(b))))``: the form that TensorRT builds as a
product of 16-bit factors with float32 sums. Without the inner casts the sums' precision is left to it, and bfloat16
has no ConvTranspose; without the outer one its weights stay 32 bits wide.
"""

from __future__ import annotations

from collections.abc import Collection

from onnx import NodeProto, TensorProto, helper

from latentloop.engines.engine_set import Tensor
from latentloop.export.tensorrt.inlined_graph import ELEMENTS, Constant, Graph
from latentloop.export.tensorrt.narrow_memories import MOVES, Movement, is_narrowed


def narrow_products(graph: Graph, dtype: str, inputs: Collection[str], outputs: Collection[str]) -> None:
    """Rewrites the graph for ``dtype``, float16 or bfloat16, which the named ``inputs`` and ``outputs`` then have."""
    rewritten = _Rewriting(graph, dtype, inputs, outputs)
    for node in graph.nodes:
        rewritten.add(node)
    rewritten.finish()


class _Rewriting:
    """The new nodes. A float32 value of the graph is there wide, narrow, or both, cast where first asked for."""

    def __init__(self, graph: Graph, dtype: str, inputs: Collection[str], outputs: Collection[str]) -> None:
        self.graph, self.dtype, self.element = graph, dtype, ELEMENTS[dtype]
        self.narrow_inputs, self.narrow_outputs = inputs, outputs
        self.elements = graph.elements()
        self.movement = Movement(graph, outputs)
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, Constant] = {}
        # The names by which a value is there in 16 bits, and in float32 that holds 16 bits; wide it keeps its own.
        self.narrow: dict[str, str] = {name: name for name in inputs}
        self.rounded: dict[str, str] = {}
        self.made_narrow = set(inputs)  # these are not there wide

    def add(self, node: NodeProto) -> None:
        """The node in its new form, after the casts that it needs."""
        added = NodeProto()
        added.CopyFrom(node)
        if is_narrowed(node, 0):
            self._add_product(added)
        elif self._moves_narrow(node):
            for place, value in enumerate(node.input):
                if self._is_float(value):
                    added.input[place] = self._as_narrow(value)
            self.nodes.append(added)
            self.narrow |= {name: name for name in node.output}
            self.made_narrow.update(node.output)
        else:
            added.input[:] = [self._as_wide(value) for value in node.input]
            self.nodes.append(added)

    def finish(self) -> None:
        """Gives the outputs their names and types, and the graph the new nodes."""
        renamed: dict[str, str] = {}
        for name in self.graph.outputs:
            chosen = self._as_narrow(name) if name in self.narrow_outputs else self._as_wide(name)
            if chosen != name:
                renamed |= {name: f"{name}.made", chosen: name}
        for node in self.nodes:
            node.input[:] = [renamed.get(value, value) for value in node.input]
            node.output[:] = [renamed.get(value, value) for value in node.output]
        graph = self.graph
        graph.nodes = self.nodes
        graph.constants |= self.constants
        for tensors, names in ((graph.inputs, self.narrow_inputs), (graph.outputs, self.narrow_outputs)):
            tensors.update((name, Tensor(name, self.dtype, tensors[name].shape)) for name in names)
        graph.prune()

    def _add_product(self, node: NodeProto) -> None:
        result = node.output[0]
        for place, value in enumerate(node.input):
            node.input[place] = self._as_rounded(value) if place < 2 else self._as_wide(value)
        node.output[0] = f"{result}.product"
        self.nodes.append(node)
        self.narrow[result] = self._cast(node.output[0], self.element, f"{result}.{self.dtype}")
        self.made_narrow.add(result)

    def _moves_narrow(self, node: NodeProto) -> bool:
        is_move = node.op_type in MOVES and self._is_float(node.output[0])
        return is_move and all(self.movement.only_narrow(output) for output in node.output)

    def _as_narrow(self, value: str) -> str:
        if value not in self.narrow:
            name = self.narrow[value] = f"{value}.{self.dtype}"
            if value in self.graph.constants:
                self.constants[name] = Constant(self.graph.constants[value].values, self.element)
            else:
                self._cast(value, self.element, name)
        return self.narrow[value]

    def _as_rounded(self, value: str) -> str:
        if value not in self.rounded:
            self.rounded[value] = self._cast(self._as_narrow(value), TensorProto.FLOAT, f"{value}.rounded")
        return self.rounded[value]

    def _as_wide(self, value: str) -> str:
        return self._as_rounded(value) if value in self.made_narrow else value

    def _cast(self, value: str, element: int, name: str) -> str:
        self.nodes.append(helper.make_node("Cast", [value], [name], to=element))
        return name

    def _is_float(self, value: str) -> bool:
        return self.elements.get(value) == TensorProto.FLOAT
