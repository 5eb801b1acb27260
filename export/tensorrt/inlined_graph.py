"""A bundle's graph with its functions inlined: nodes and constants that passes can rewrite.

Constants can be views of the bundle's weights file; they are read, and rounded to 16 bits, when the graph is written.
Weights that the file stores as float16 are float32 constants here: the storage type does not determine the precision.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from latentloop.bundles.codec import Tensor
from latentloop.errors import BundleError, InputError
from latentloop.export.graphs.builder import IR_VERSION, OPSET, locate
from latentloop.export.graphs.nodes import Array
from latentloop.kernels.element_types import BOUND

# Functions whose products determine codes: they are float32 at every precision.
EXACT_FUNCTIONS = ("DrawCode", "NearestCodebook")
WEIGHTS_FILE = "weights.bin"
SMALL = 1024  # bytes; constants up to this size are inside the graph's file
ELEMENTS = {dtype.name: dtype.onnx for dtype in BOUND}
DTYPES: dict[int, str] = {element: dtype for dtype, element in ELEMENTS.items()}


@dataclass(frozen=True)
class Constant:
    """A constant. ``element``: its type in the graph; float32 ``values`` can stand for float16 or bfloat16 elements."""

    values: Array
    element: int

    @staticmethod
    def of(values: Array) -> Constant:
        """Returns a constant with the type of ``values``."""
        return Constant(values, helper.np_dtype_to_tensor_dtype(values.dtype))

    def stored(self, name: str) -> Array:
        """Returns the values for the file, bfloat16 as uint16. Raises InputError for values beyond float16's range."""
        if self.element == TensorProto.BFLOAT16:
            return _bfloat16(self.values)
        if self.element == TensorProto.FLOAT16:
            with np.errstate(over="ignore"):
                narrow = self.values.astype(np.float16)
            if not np.isfinite(narrow).all():
                largest = np.abs(self.values).max()
                raise InputError(f"the weight {name} holds {largest:g}, beyond float16's range: use bfloat16")
            return narrow
        return self.values


@dataclass(eq=False)
class InlinedGraph:
    """Nodes in topological order; inputs, outputs and constants by name. Every value has one producer."""

    name: str
    nodes: list[NodeProto]
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    constants: dict[str, Constant]

    def producers(self) -> dict[str, NodeProto]:
        """Returns the node that computes each value."""
        return {output: node for node in self.nodes for output in node.output}

    def readers(self) -> dict[str, list[tuple[NodeProto, int]]]:
        """Returns the nodes that read each value, with the index of the input."""
        readers: dict[str, list[tuple[NodeProto, int]]] = {}
        for node in self.nodes:
            for index, value in enumerate(node.input):
                readers.setdefault(value, []).append((node, index))
        return readers

    def replace(self, renamed: dict[str, str]) -> None:
        """Replaces values at all nodes that read them; ``renamed``: new names by old ones."""
        for node in self.nodes:
            for index, value in enumerate(node.input):
                if value in renamed:
                    node.input[index] = renamed[value]

    def prune(self) -> None:
        """Removes nodes and constants that no output depends on."""
        needed = set(self.outputs)
        nodes = []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                needed.update(node.input)
                nodes.append(node)
        self.nodes = nodes[::-1]
        self.constants = {name: value for name, value in self.constants.items() if name in needed}

    def elements(self) -> dict[str, int]:
        """Returns every value's element type."""
        constants = (helper.make_tensor_value_info(name, c.element, None) for name, c in self.constants.items())
        skeleton = self._model(constants, [])
        inferred = onnx.shape_inference.infer_shapes(skeleton, strict_mode=True, data_prop=False).graph
        infos = (*inferred.input, *inferred.value_info, *inferred.output)
        return {info.name: info.type.tensor_type.elem_type for info in infos}

    def write(self, folder: Path) -> Path:
        """Writes the graph as ONNX, and its large constants, to an empty ``folder``; returns the path of the graph."""
        for node in self.nodes:
            node.name = node.output[0]  # unique, unlike the names inside functions
        initializers = []
        with (folder / WEIGHTS_FILE).open("wb") as weights:
            for name, constant in self.constants.items():
                values = np.asarray(constant.stored(name), order="C")
                tensor = TensorProto(name=name, data_type=constant.element, dims=values.shape)
                if values.nbytes <= SMALL:
                    tensor.raw_data = values.tobytes()
                else:
                    weights.write(bytes(-weights.tell() % 64))
                    locate(tensor, WEIGHTS_FILE, weights.tell(), values.nbytes)
                    values.tofile(weights)
                initializers.append(tensor)
        path = folder / f"{self.name}.onnx"
        path.write_bytes(self._model([], initializers).SerializeToString())
        return path

    def _model(self, constants: Iterable[onnx.ValueInfoProto], initializers: list[TensorProto]) -> onnx.ModelProto:
        inputs = [_info(tensor) for tensor in self.inputs.values()]
        outputs = [_info(tensor) for tensor in self.outputs.values()]
        graph = helper.make_graph(self.nodes, self.name, [*inputs, *constants], outputs, initializers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def read_graph(path: Path, weights: NDArray[np.uint8]) -> InlinedGraph:
    """Reads a graph of a bundle and inlines its functions. ``weights``: the bundle's weights file, memory-mapped.

    Raises BundleError for a file that is not a valid graph, or that refers to bytes beyond the end of the weights.
    """
    try:
        model = onnx.load(path, load_external_data=False)
        for function in model.functions:
            for node in function.node:
                node.doc_string = function.name  # inlining keeps it
        graph = onnx.inliner.inline_local_functions(model).graph
    except Exception as error:  # protobuf and the inliner raise exceptions of their own types
        raise BundleError(f"{path}: not readable as ONNX: {error}") from error
    constants = {
        tensor.name: Constant(_values(tensor, weights, path), tensor.data_type) for tensor in graph.initializer
    }
    nodes = []
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = Constant.of(_constant_value(node, path))
        else:
            nodes.append(node)
    inputs, outputs = ({info.name: _tensor(info, path) for info in infos} for infos in (graph.input, graph.output))
    inlined = InlinedGraph(path.stem, nodes, inputs, outputs, constants)
    _widen_stored(inlined)
    _skip_identities(inlined)
    inlined.prune()
    return inlined


def is_exact(node: NodeProto) -> bool:
    """Returns whether a node is float32 at every precision."""
    return node.doc_string in EXACT_FUNCTIONS


def _widen_stored(graph: InlinedGraph) -> None:
    """Replaces weights that are stored as float16 and cast to float32 by float32 constants."""
    nodes = []
    for node in graph.nodes:
        is_cast = node.op_type == "Cast" and helper.get_node_attr_value(node, "to") == TensorProto.FLOAT
        stored = graph.constants.get(node.input[0]) if is_cast else None
        if stored is not None and stored.element == TensorProto.FLOAT16:
            graph.constants[node.output[0]] = Constant.of(stored.values.astype(np.float32))
        else:
            nodes.append(node)
    graph.nodes = nodes


def _skip_identities(graph: InlinedGraph) -> None:
    """Replaces the outputs of Identity nodes by their inputs; Identity nodes for outputs of the graph remain."""
    renamed: dict[str, str] = {}
    for node in graph.nodes:
        if node.op_type == "Identity":
            renamed[node.output[0]] = renamed.get(node.input[0], node.input[0])
    graph.replace(renamed)


def _constant_value(node: NodeProto, path: Path) -> Array:
    (attribute,) = node.attribute
    value = helper.get_attribute_value(attribute)
    if attribute.name == "value":
        return numpy_helper.to_array(value)
    if attribute.name == "value_int":
        return np.array(value, np.int64)
    raise BundleError(
        f"{path}: the constant {node.output[0]!r} is given as {attribute.name}, expected value or value_int"
    )


def _values(tensor: TensorProto, weights: NDArray[np.uint8], path: Path) -> Array:
    if tensor.data_location != TensorProto.EXTERNAL:
        return numpy_helper.to_array(tensor)
    location = {entry.key: entry.value for entry in tensor.external_data}
    offset, length = int(location.get("offset", 0)), int(location.get("length", 0))
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    if length != math.prod(tensor.dims) * dtype.itemsize or not 0 <= offset <= len(weights) - length:
        raise BundleError(
            f"{path}: the weight {tensor.name!r} is {list(tensor.dims)} in {length} bytes at {offset} of a file of "
            f"{len(weights)} bytes: export the bundle again"
        )
    return weights[offset : offset + length].view(dtype).reshape(tuple(tensor.dims))


def _tensor(info: onnx.ValueInfoProto, path: Path) -> Tensor:
    kind = info.type.tensor_type
    if kind.elem_type not in DTYPES:
        raise BundleError(
            f"{path}: {info.name!r} has the element type {kind.elem_type}, expected {', '.join(ELEMENTS)}"
        )
    return Tensor(info.name, DTYPES[kind.elem_type], tuple(d.dim_param or d.dim_value for d in kind.shape.dim))


def _info(tensor: Tensor) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(tensor.name, ELEMENTS[tensor.dtype], tensor.shape)


def _bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Returns the upper halves of finite float32 values, rounded to nearest, ties to even."""
    bits = np.asarray(values, np.float32, order="C").view(np.uint32)
    return ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)
