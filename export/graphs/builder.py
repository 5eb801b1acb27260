"""A small ONNX graph builder: one call per node, weights by name into one shared file.

Weights become external data at an offset of ``weights.safetensors``, so that every graph of a bundle reads the one
copy, and ordinary tools can list it. Small constants stay inside the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 18  # what ONNX Runtime 1.20 and TensorRT 10 both read whole
IR_VERSION = 9
WEIGHTS_FILE = "weights.safetensors"

FLOAT = TensorProto.FLOAT
INT64 = TensorProto.INT64
UINT8 = TensorProto.UINT8

Dim = int | str
Array = NDArray[Any]


class WeightStore:
    """Named float32 weights of a whole bundle, each stored once however many graphs read it."""

    def __init__(self) -> None:
        self.tensors: dict[str, NDArray[np.float32]] = {}

    def add(self, name: str, value: Array) -> None:
        """Registers ``value`` as float32; the same name must always carry the same values."""
        stored = np.ascontiguousarray(value, np.float32)
        assert name not in self.tensors or np.array_equal(self.tensors[name], stored), name
        self.tensors.setdefault(name, stored)


class GraphBuilder:
    """Collects nodes, inputs and outputs; values are referred to by name."""

    def __init__(self, name: str, store: WeightStore) -> None:
        self.name = name
        self.store = store
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, TensorProto] = {}
        self.weights: list[str] = []

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

    def constant(self, value: Array | Sequence[int] | int | float) -> str:
        """A small constant; Python integers become int64, floats float32. Equal constants are shared."""
        array = np.asarray(value)
        array = array.astype(np.int64 if array.dtype.kind in "iu" else np.float32)
        name = f"constant_{len(self.constants)}"
        for known, tensor in self.constants.items():
            other = numpy_helper.to_array(tensor)
            if other.dtype == array.dtype and other.shape == array.shape and np.array_equal(other, array):
                return known
        self.constants[name] = numpy_helper.from_array(array, name)
        return name

    def op(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """One node with one output; returns the output's name."""
        return self.split_op(kind, 1, *inputs, name=name, **attributes)[0]

    def split_op(self, kind: str, count: int, *inputs: str, name: str = "", **attributes: Any) -> list[str]:
        """One node with ``count`` outputs."""
        label = name or f"{kind.lower()}_{len(self.nodes)}"
        outputs = [label] if count == 1 else [f"{label}.{n}" for n in range(count)]
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=label, **attributes))
        return outputs

    # The few compositions that several graphs share.

    def slice(self, x: str, start: int, stop: int, axis: int) -> str:
        """x[start:stop] along one axis."""
        ends = (self.constant([v]) for v in (start, stop, axis))
        return self.op("Slice", x, *ends)

    def split(self, x: str, count: int, axis: int) -> list[str]:
        """Equal parts along one axis."""
        if count == 1:
            return [x]
        return self.split_op("Split", count, x, axis=axis, num_outputs=count)

    def sum_axis(self, x: str, axis: int) -> str:
        """The sum over one axis, which disappears."""
        return self.op("ReduceSum", x, self.constant([axis]), keepdims=0)

    def glu(self, x: str, axis: int) -> str:
        """a * sigmoid(b), for the halves a and b of one axis."""
        a, b = self.split(x, 2, axis)
        return self.op("Mul", a, self.op("Sigmoid", b))

    def reshape(self, x: str, shape: Sequence[int]) -> str:
        """0 keeps a dimension, -1 takes what is left."""
        return self.op("Reshape", x, self.constant(list(shape)))

    def model(self, offsets: dict[str, tuple[int, int]]) -> onnx.ModelProto:
        """The finished model; ``offsets`` gives each weight's (offset, length) in the shared file, in bytes."""
        initializers = list(self.constants.values())
        for name in self.weights:
            tensor = TensorProto(name=name, data_type=FLOAT, dims=self.store.tensors[name].shape)
            tensor.data_location = TensorProto.EXTERNAL
            offset, length = offsets[name]
            for key, value in (("location", WEIGHTS_FILE), ("offset", str(offset)), ("length", str(length))):
                tensor.external_data.add(key=key, value=value)
            initializers.append(tensor)
        graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        model.producer_name = "latentloop"
        return model
