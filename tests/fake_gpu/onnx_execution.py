"""Execution of ONNX graphs on the CPU, over tensors at addresses of the simulated GPU's memory."""

from __future__ import annotations

import ctypes
import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession, SessionOptions

from fake_gpu.accesses import Access
from fake_gpu.scheduler import FakeGpuError, Run

_SESSIONS: dict[str, InferenceSession] = {}


@dataclass(frozen=True)
class BoundTensor:
    """A contiguous tensor at an address of the GPU's memory, bound to an input or output."""

    name: str
    pointer: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    is_output: bool

    def access(self) -> Access:
        return Access(self.name, self.pointer, math.prod(self.shape) * self.dtype.itemsize, self.is_output)

    def array(self) -> NDArray[Any]:
        raw = (ctypes.c_uint8 * (math.prod(self.shape) * self.dtype.itemsize)).from_address(self.pointer)
        return np.ctypeslib.as_array(raw).view(self.dtype).reshape(self.shape)


def cpu_session(model: bytes) -> InferenceSession:
    """Returns a session, cached by model. bfloat16 is replaced by float32, because ONNX Runtime's CPU provider has few
    operators for bfloat16.
    """
    key = hashlib.sha256(model).hexdigest()
    if key not in _SESSIONS:
        parsed = onnx.load_from_string(model)
        if _uses_bfloat16(parsed):
            model = _without_bfloat16(parsed).SerializeToString()
        options = SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        # Otherwise ONNX Runtime multiplies dequantised weights as integers, and rounds the other factor to integers.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        _SESSIONS[key] = InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return _SESSIONS[key]


def bound_run(text: str, session: InferenceSession, tensors: Iterable[BoundTensor]) -> Run:
    """Returns a function that runs a session over the tensors. It can be called several times."""
    tensors = list(tensors)
    bfloat16 = [tensor for tensor in tensors if tensor.dtype == ml_dtypes.bfloat16]
    binding: Any = None
    converted = {tensor.name: np.empty(tensor.shape, np.float32) for tensor in bfloat16}

    def run() -> None:
        nonlocal binding
        if binding is None:  # not before the first run: binding costs as much time as a run, and not every run happens
            binding = _bind(session, tensors, converted)
        for tensor in bfloat16:
            converted[tensor.name][...] = tensor.array()
        try:
            session.run_with_iobinding(binding)
        except Exception as error:  # ONNX Runtime's exceptions have no common base class
            raise FakeGpuError(f"{text}: {error}") from error
        for tensor in bfloat16:
            if tensor.is_output:
                tensor.array()[...] = converted[tensor.name].astype(ml_dtypes.bfloat16)

    return run


def _bind(session: InferenceSession, tensors: Iterable[BoundTensor], converted: dict[str, NDArray[np.float32]]) -> Any:
    binding = session.io_binding()
    for tensor in tensors:
        bind = binding.bind_output if tensor.is_output else binding.bind_input
        if tensor.name in converted:
            bind(tensor.name, "cpu", 0, np.float32, tensor.shape, converted[tensor.name].ctypes.data)
        else:
            bind(tensor.name, "cpu", 0, tensor.dtype, tensor.shape, tensor.pointer)
    return binding


def _constants(model: onnx.ModelProto) -> Iterable[TensorProto]:
    yield from model.graph.initializer
    for body in (model.graph, *model.functions):
        for node in body.node:
            yield from (attribute.t for attribute in node.attribute if attribute.type == onnx.AttributeProto.TENSOR)


def _is_cast_to_bfloat16(node: onnx.NodeProto) -> bool:
    return node.op_type == "Cast" and helper.get_node_attr_value(node, "to") == TensorProto.BFLOAT16


def _uses_bfloat16(model: onnx.ModelProto) -> bool:
    values = (*model.graph.input, *model.graph.output)
    return (
        any(value.type.tensor_type.elem_type == TensorProto.BFLOAT16 for value in values)
        or any(tensor.data_type == TensorProto.BFLOAT16 for tensor in _constants(model))
        or any(_is_cast_to_bfloat16(node) for body in (model.graph, *model.functions) for node in body.node)
    )


def _without_bfloat16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replaces bfloat16 by float32 in the model. A cast to bfloat16 still rounds: a cast to float32 follows it."""
    for tensor in _constants(model):
        if tensor.data_type == TensorProto.BFLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        if value.type.tensor_type.elem_type == TensorProto.BFLOAT16:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    for body in (model.graph, *model.functions):
        nodes = []
        for node in body.node:
            nodes.append(node)
            if _is_cast_to_bfloat16(node):
                output = node.output[0]
                node.output[0] = f"{output}#bfloat16"
                nodes.append(helper.make_node("Cast", [node.output[0]], [output], to=TensorProto.FLOAT))
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del body.node[:]
        body.node.extend(copies)
    return model
