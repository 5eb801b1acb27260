"""A builder of ONNX graphs: one call per node; the weights of all graphs are in one file.

Weights are external data at an offset in ``weights.safetensors``, so all graphs of a bundle share one copy, which
standard tools can list. Small constants are inside the graph. A weight that is stored as float16 is cast to float32 at
the beginning of the graph; a runtime folds the cast when it loads the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from latentloop.export.checkpoints.lazy_arrays import LazyArray, values_of
from latentloop.export.graphs.nodes import Array, Constant, NodeBuilder, as_constant
from latentloop.export.rounding import exact_float16

OPSET = 18  # the newest that ONNX Runtime 1.20 and TensorRT 10 both support completely
IR_VERSION = 9
WEIGHTS_FILE = "weights.safetensors"
OPERATORS = "latentloop"  # the ONNX domain of this project's operators
SMALLEST = 1024  # values of a weight that is stored as float16; for a smaller one a cast costs more than it saves

FLOAT = TensorProto.FLOAT
FLOAT16 = TensorProto.FLOAT16
DOUBLE = TensorProto.DOUBLE
INT64 = TensorProto.INT64
UINT8 = TensorProto.UINT8

Dim = int | str


def locate(tensor: TensorProto, file: str, offset: int, length: int) -> None:
    """Makes the tensor's values external data: ``length`` bytes of ``file``, from ``offset`` on."""
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": file, "offset": offset, "length": length}.items():
        tensor.external_data.add(key=key, value=str(value))


class WeightStore:
    """The weights of a bundle by name, each stored once for all graphs.

    They are converted and read, one after the other, when the file is written; until then the store only refers to
    arrays.
    """

    def __init__(self, weights: str = "float32") -> None:
        """``weights``: float32, or float16 to store large weights that float16 represents exactly in that type."""
        self.weights = weights
        self.tensors: dict[str, LazyArray] = {}  # in the type that is stored
        self.added: dict[str, Array | LazyArray] = {}

    def add(self, name: str, value: Array | LazyArray) -> None:
        """Adds a weight, which must not change. A name that is added again must have the same values."""
        if name in self.added:
            first = self.added[name]
            assert first is value or np.array_equal(_float32(first), _float32(value), equal_nan=True), name
            return
        self.added[name] = value
        tensor = LazyArray(value.shape, partial(_float32, value))
        if self.weights == "float16" and value.size >= SMALLEST and exact_float16(tensor.read()) is not None:
            tensor = tensor.then(partial(values_of, dtype=np.float16), np.dtype(np.float16))
        self.tensors[name] = tensor


def _float32(value: Array | LazyArray) -> Array:
    return values_of(value, np.float32)


class GraphBuilder(NodeBuilder):
    """Builds a graph: nodes, inputs, outputs and constants; values are strings, their names."""

    def __init__(self, name: str, store: WeightStore, bits: int = 32) -> None:
        """``bits``: the width that the operators round their weights to; 32: no rounding."""
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
        """Adds a model-local function. A name that is added again must have the same definition."""
        existing = self.functions.setdefault(function.name, function)
        assert existing == function, function.name

    def input(self, name: str, dtype: int, shape: Sequence[Dim]) -> str:
        """Declares a graph input; string dimensions are dynamic."""
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, name: str, value: str, dtype: int, shape: Sequence[Dim]) -> None:
        """Declares ``value`` as the graph output ``name``, and renames it in all nodes."""
        self.outputs.append(helper.make_tensor_value_info(name, dtype, shape))
        for node in self.nodes:
            node.output[:] = [name if output == value else output for output in node.output]
            node.input[:] = [name if read == value else read for read in node.input]

    def weight(self, name: str, value: Array | LazyArray) -> str:
        """Adds a weight, which the bundle stores once under this name. The graph reads it as float32."""
        self.store.add(name, value)
        if name not in self.weights:
            self.weights.append(name)
        return name

    def constant(self, value: Constant) -> str:
        """Adds a small constant inside the graph. Equal constants are shared."""
        array = as_constant(value)
        name = f"constant_{len(self.constants)}"
        for existing, tensor in self.constants.items():
            other = numpy_helper.to_array(tensor)
            if other.dtype == array.dtype and other.shape == array.shape and np.array_equal(other, array):
                return existing
        self.constants[name] = numpy_helper.from_array(array, name)
        return name

    def model(self, offsets: dict[str, tuple[int, int]]) -> onnx.ModelProto:
        """Returns the model. ``offsets``: each weight's (offset, length) in the weights file, in bytes."""
        initializers = list(self.constants.values())
        casts = []
        for name in self.weights:
            stored = self.store.tensors[name]
            tensor = TensorProto(name=name, data_type=FLOAT, dims=stored.shape)
            if stored.dtype == np.float16:
                tensor.name, tensor.data_type = f"{name}.stored", FLOAT16
                casts.append(helper.make_node("Cast", [tensor.name], [name], name=name, to=FLOAT))
            locate(tensor, WEIGHTS_FILE, *offsets[name])
            initializers.append(tensor)
        graph = helper.make_graph([*casts, *self.nodes], self.name, self.inputs, self.outputs, initializers)
        opsets = [helper.make_opsetid("", OPSET)]
        if self.functions:
            opsets.append(helper.make_opsetid(OPERATORS, 1))
        functions = list(self.functions.values())
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, functions=functions)
        model.producer_name = "latentloop"
        return model
