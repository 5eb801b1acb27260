"""ONNX graphs that stand in for a GPU's kernels: run on the CPU, over memory given by address."""

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

from fake_gpu.memory import Range
from fake_gpu.order import FakeGpuError, Run

_SESSIONS: dict[str, InferenceSession] = {}


@dataclass(frozen=True)
class Place:
    """A contiguous array at an address of the GPU's memory."""

    name: str
    pointer: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    is_output: bool

    def touched(self) -> Range:
        return Range(self.name, self.pointer, math.prod(self.shape) * self.dtype.itemsize, self.is_output)

    def array(self) -> NDArray[Any]:
        raw = (ctypes.c_uint8 * (math.prod(self.shape) * self.dtype.itemsize)).from_address(self.pointer)
        return np.ctypeslib.as_array(raw).view(self.dtype).reshape(self.shape)


def session_of(model: bytes) -> InferenceSession:
    """One session for the same model, whoever asks. bfloat16 becomes float32, which ONNX Runtime's CPU can multiply."""
    key = hashlib.sha256(model).hexdigest()
    if key not in _SESSIONS:
        parsed = onnx.load_from_string(model)
        if _uses_bfloat16(parsed):
            model = _widened(parsed).SerializeToString()
        options = SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        # Else it multiplies dequantised weights as integers, and rounds the other factor for that.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        _SESSIONS[key] = InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return _SESSIONS[key]


def run_of(text: str, session: InferenceSession, places: Iterable[Place]) -> Run:
    """One run of a session over those places, to be called when it is its turn, any number of times."""
    places = list(places)
    narrow = [place for place in places if place.dtype == ml_dtypes.bfloat16]
    binding: Any = None
    wide = {place.name: np.empty(place.shape, np.float32) for place in narrow}

    def run() -> None:
        nonlocal binding
        if binding is None:  # later, for preparing a row's steps is as dear as running them
            binding = _bound(session, places, wide)
        for place in narrow:
            wide[place.name][...] = place.array()
        try:
            session.run_with_iobinding(binding)
        except Exception as error:  # ONNX Runtime's exceptions have no common root of their own
            raise FakeGpuError(f"{text}: {error}") from error
        for place in narrow:
            if place.is_output:
                place.array()[...] = wide[place.name].astype(ml_dtypes.bfloat16)

    return run


def _bound(session: InferenceSession, places: Iterable[Place], wide: dict[str, NDArray[np.float32]]) -> Any:
    binding = session.io_binding()
    for place in places:
        bind = binding.bind_output if place.is_output else binding.bind_input
        if place.name in wide:
            bind(place.name, "cpu", 0, np.float32, place.shape, wide[place.name].ctypes.data)
        else:
            bind(place.name, "cpu", 0, place.dtype, place.shape, place.pointer)
    return binding


def _tensors(model: onnx.ModelProto) -> Iterable[TensorProto]:
    """All constants."""
    yield from model.graph.initializer
    for body in (model.graph, *model.functions):
        for node in body.node:
            yield from (attribute.t for attribute in node.attribute if attribute.type == onnx.AttributeProto.TENSOR)


def _is_narrowing(node: onnx.NodeProto) -> bool:
    return node.op_type == "Cast" and helper.get_node_attr_value(node, "to") == TensorProto.BFLOAT16


def _uses_bfloat16(model: onnx.ModelProto) -> bool:
    values = (*model.graph.input, *model.graph.output)
    return (
        any(value.type.tensor_type.elem_type == TensorProto.BFLOAT16 for value in values)
        or any(tensor.data_type == TensorProto.BFLOAT16 for tensor in _tensors(model))
        or any(_is_narrowing(node) for body in (model.graph, *model.functions) for node in body.node)
    )


def _widened(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with float32 in place of bfloat16. What it casts to bfloat16 is still rounded."""
    for tensor in _tensors(model):
        if tensor.data_type == TensorProto.BFLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        if value.type.tensor_type.elem_type == TensorProto.BFLOAT16:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    for body in (model.graph, *model.functions):
        nodes = []
        for node in body.node:
            nodes.append(node)
            if _is_narrowing(node):
                output = node.output[0]
                node.output[0] = f"{output}#bfloat16"
                nodes.append(helper.make_node("Cast", [node.output[0]], [output], to=TensorProto.FLOAT))
        kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del body.node[:]
        body.node.extend(kept)
    return model
