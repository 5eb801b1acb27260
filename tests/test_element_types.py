"""The table of element types: its codes are those of NumPy, ONNX, PyTorch and safetensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
import safetensors.torch
import torch
from onnx import helper

from latentloop.kernels.driver import dlpack
from latentloop.kernels.element_types import BFLOAT16, BOUND, ELEMENT_TYPES, FLOAT64, FLOATS, ElementType

TYPES = tuple(ELEMENT_TYPES.values())


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
@pytest.mark.parametrize("each", TYPES, ids=list(ELEMENT_TYPES))
def test_sizes_and_codes_agree(each: ElementType) -> None:
    dtype: Any = getattr(torch, each.name)
    assert each.size == np.dtype(each.numpy).itemsize == dtype.itemsize
    if each.dlpack >= 0:
        assert dlpack.read(torch.zeros(1, dtype=dtype).__dlpack__()).dtype == (each.dlpack, 8 * each.size, 1)
    if each.onnx:
        assert helper.tensor_dtype_to_np_dtype(each.onnx).name == each.name
    if each.storage:
        storage = getattr(torch, f"{each.storage}Storage")
        assert storage.dtype is dtype
    if each.epsilon:
        assert each.epsilon == torch.finfo(dtype).eps


@pytest.mark.parametrize("each", BOUND, ids=lambda each: each.name)
def test_the_names_are_those_of_onnxruntime(each: ElementType) -> None:
    value = helper.make_tensor_value_info("x", each.onnx, [1])
    result = helper.make_tensor_value_info("y", each.onnx, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "identity", [value], [result])
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)])
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].type == each.onnxruntime


@pytest.mark.parametrize("each", [each for each in TYPES if each.short], ids=lambda each: each.name)
def test_the_short_names_are_those_of_safetensors(each: ElementType) -> None:
    written = safetensors.torch.save({"x": torch.zeros(2, dtype=getattr(torch, each.name))})
    assert f'"dtype":"{each.short}"'.encode() in written


def test_every_type_of_a_graph_has_a_code_everywhere() -> None:
    assert all(each.onnx and each.tensorrt and each.dlpack >= 0 for each in BOUND)
    assert all(each.epsilon for each in (*FLOATS, FLOAT64))


def test_bfloat16_is_the_upper_half_of_float32() -> None:
    values = np.array([1.0, -2.5, np.inf], np.float32)
    bits = (values.view(np.uint32) >> 16).astype(np.uint16)
    np.testing.assert_array_equal(BFLOAT16.values(bits), values)
    assert BFLOAT16.typestr is None
