"""A small ONNX graph builder: one call per node, weights by name into one shared file.

Weights become external data at an offset of ``weights.safetensors``, so that every graph of a bundle reads the one
copy, and ordinary tools can list it. Small constants stay inside the graph. A weight that is stored in float16 is cast
where the graph begins: all that read it see float32, and a runtime folds the cast when it loads the graph.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from latentloop.export.graphs.nodes import Array, Constant, Nodes, as_constant
from latentloop.export.rounding import exact_float16

OPSET = 18  # what ONNX Runtime 1.20 and TensorRT 10 both read whole
IR_VERSION = 9
WEIGHTS_FILE = "weights.safetensors"
OPERATORS = "latentloop"  # the domain of this project's operators
SMALLEST = 1024  # values of a weight that is stored in float16: of smaller ones a cast takes longer than it saves

FLOAT = TensorProto.FLOAT
FLOAT16 = TensorProto.FLOAT16
DOUBLE = TensorProto.DOUBLE
INT64 = TensorProto.INT64
UINT8 = TensorProto.UINT8

Dim = int | str


class WeightStore:
    """Named float32 weights of a whole bundle, each stored once however many graphs read it."""

    def __init__(self, weights: str = "float32") -> None:
        """``weights``: float32, or float16 for large ones whose values all have one; the others stay float32."""
        self.weights = weights
        self.tensors: dict[str, NDArray[np.float32] | NDArray[np.float16]] = {}

    def add(self, name: str, value: Array) -> None:
        """Registers ``value`` as float32; the same name must always carry the same values."""
        values = np.ascontiguousarray(value, np.float32)
        assert name not in self.tensors or np.array_equal(self.tensors[name], values, equal_nan=True), name
        if name not in self.tensors:
            narrow = exact_float16(values) if self.weights == "float16" and values.size >= SMALLEST else None
            self.tensors[name] = values if narrow is None else narrow


class GraphBuilder(Nodes):
    """Collects nodes, inputs and outputs; values are referred to by name."""

    def __init__(self, name: str, store: WeightStore, bits: int = 32) -> None:
        """``bits``: to how many the operators round their weights; 32 leaves them as they are."""
        super().__init__()
        self.name = name
        self.store = store
        self.bits = bits
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.constants: dict[str, TensorProto] = {}
        self.weights: list[str] = []
        self.functions: dict[str, onnx.FunctionProto] = {}

    def define(self, function: onnx.FunctionProto) -> None:
        """Adds a model-local function; a graph has one definition of each name."""
        known = self.functions.setdefault(function.name, function)
        assert known == function, function.name

    def input(self, name: str, dtype: int, shape: Sequence[Dim]) -> str:
        """Declares a graph input; string dimensions are dynamic."""
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, name: str, value: str, dtype: int, shape: Sequence[Dim]) -> None:
        """Declares ``value`` as the graph output ``name``, by renaming it where its node makes it."""
        self.outputs.append(helper.make_tensor_value_info(name, dtype, shape))
        for node in self.nodes:
            node.output[:] = [name if output == value else output for output in node.output]
            node.input[:] = [name if read == value else read for read in node.input]

    def weight(self, name: str, value: Array) -> str:
        """A float32 weight, stored once per bundle under this name."""
        self.store.add(name, value)
        if name not in self.weights:
            self.weights.append(name)
        return name

    def constant(self, value: Constant) -> str:
        """A small constant, inside the graph. Equal constants are shared."""
        array = as_constant(value)
        name = f"constant_{len(self.constants)}"
        for known, tensor in self.constants.items():
            other = numpy_helper.to_array(tensor)
            if other.dtype == array.dtype and other.shape == array.shape and np.array_equal(other, array):
                return known
        self.constants[name] = numpy_helper.from_array(array, name)
        return name

    def model(self, offsets: dict[str, tuple[int, int]]) -> onnx.ModelProto:
        """The finished model; ``offsets`` gives each weight's (offset, length) in the shared file, in bytes."""
        initializers = list(self.constants.values())
        casts = []
        for name in self.weights:
            values = self.store.tensors[name]
            tensor = TensorProto(name=name, data_type=FLOAT, dims=values.shape)
            if values.dtype == np.float16:
                tensor.name, tensor.data_type = f"{name}.stored", FLOAT16
                casts.append(helper.make_node("Cast", [tensor.name], [name], name=name, to=FLOAT))
            tensor.data_location = TensorProto.EXTERNAL
            offset, length = offsets[name]
            for key, value in (("location", WEIGHTS_FILE), ("offset", str(offset)), ("length", str(length))):
                tensor.external_data.add(key=key, value=value)
            initializers.append(tensor)
        graph = helper.make_graph([*casts, *self.nodes], self.name, self.inputs, self.outputs, initializers)
        opsets = [helper.make_opsetid("", OPSET)]
        if self.functions:
            opsets.append(helper.make_opsetid(OPERATORS, 1))
        functions = list(self.functions.values())
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, functions=functions)
        model.producer_name = "latentloop"
        return model
