"""The operator for ONNX Runtime's CUDA execution provider, run on the CPU.

It is compiled with the launcher for the CPU simulation. Only the names of the provider and of its memory are changed.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from cuda_host import compile_host
from mutants import Mutant
from nearest_grid import KERNELS, compiler
from onnx import TensorProto, helper
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

from latentloop.kernels.nearest_codebook.reference import nearest_reference

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler")

Array = np.ndarray[Any, np.dtype[Any]]
CHANGES = (
    Mutant("the CPU's provider", "latentloop", '"CUDAExecutionProvider"', '"CPUExecutionProvider"'),
    Mutant("the CPU's memory", "latentloop", '"Cuda"', '"Cpu"'),
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("operators")
    kernels = folder / "kernels"
    shutil.copytree(KERNELS, kernels, ignore=shutil.ignore_patterns("*.so", "*.fatbin", "*.py", "__pycache__"))
    for change in CHANGES:
        change.insert(kernels / "operators" / "cuda")
    register = kernels / "operators" / "cuda" / "register.cpp"
    return compile_host([register], folder / "liboperators.so", ["-shared", "-fPIC", "-fvisibility=hidden"], kernels)


def session(library: Path, element_type: int, rank: int, channels_first: int | None) -> onnxruntime.InferenceSession:
    """Creates a session of one node, with inputs z and codebook of dynamic sizes."""
    attributes: dict[str, Any] = {} if channels_first is None else {"channels_first": channels_first}
    node = helper.make_node("NearestCodebook", ["z", "codebook"], ["index"], domain="latentloop", **attributes)
    inputs = [
        helper.make_tensor_value_info("z", element_type, [None] * rank),
        helper.make_tensor_value_info("codebook", element_type, [None] * 2),
    ]
    graph = helper.make_graph(
        [node], "graph", inputs, [helper.make_tensor_value_info("index", TensorProto.INT64, None)]
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("latentloop", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    options.register_custom_ops_library(str(library))
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def integers(*shape: int) -> Array:
    return np.random.default_rng(shape).integers(-2, 3, shape).astype(np.float32)


@pytest.mark.parametrize("element_type", [np.float32, np.float16])
@pytest.mark.parametrize(
    ("shape", "channels_first"),
    [((7,), 0), ((130, 7), 0), ((3, 4, 5, 7), 0), ((2, 7), 1), ((2, 7, 5), 1), ((3, 7, 4, 5), 1), ((3, 7, 0, 5), 1)],
)
def test_operator_equals_the_reference(
    library: Path, element_type: type, shape: tuple[int, ...], channels_first: int
) -> None:
    z, codebook = integers(*shape), integers(150, 7)
    tensor_type = helper.np_dtype_to_tensor_dtype(np.dtype(element_type))
    run = session(library, tensor_type, len(shape), channels_first).run
    (index,) = run(None, {"z": z.astype(element_type), "codebook": codebook.astype(element_type)})
    last = np.moveaxis(z, 1 if channels_first else -1, -1)
    expected = nearest_reference(last.reshape(-1, 7), codebook).index.reshape(last.shape[:-1])
    assert index.dtype == np.int64
    np.testing.assert_array_equal(index, expected)


def test_runs_of_one_session_are_independent(library: Path) -> None:
    """Sizes and codebooks change from run to run."""
    run = session(library, TensorProto.FLOAT, 2, 0).run
    for vectors, codewords in ((300, 7), (2, 260), (0, 3), (129, 1)):
        z, codebook = integers(vectors, 4), integers(codewords, 4)
        (index,) = run(None, {"z": z, "codebook": codebook})
        np.testing.assert_array_equal(index, nearest_reference(z, codebook).index)


@pytest.mark.parametrize(
    ("z", "codebook", "channels_first", "reason"),
    [
        ((4, 3), (5, 7), 0, r"z has the shape \[4, 3\], codebook \[5, 7\], expected \[..., D\] and \[K, D\]"),
        ((4, 3), (5, 7), 1, r"z has the shape \[4, 3\], codebook \[5, 7\], expected \[B, D, ...\] and \[K, D\]"),
        ((7,), (5, 7), 1, r"z has the shape \[7\], codebook \[5, 7\], expected \[B, D, ...\] and \[K, D\]"),
        ((4, 7), (0, 7), 0, "codewords is 0, expected 1 to 65536"),
        ((4, 513), (2, 513), 0, "dimensions is 513, expected 1 to 512"),
    ],
)
def test_invalid_shapes_are_rejected(
    library: Path, z: tuple[int, ...], codebook: tuple[int, ...], channels_first: int, reason: str
) -> None:
    run = session(library, TensorProto.FLOAT, len(z), channels_first).run
    with pytest.raises((InvalidArgument, Fail, RuntimeException), match=f"NearestCodebook: {reason}"):
        run(None, {"z": np.zeros(z, np.float32), "codebook": np.zeros(codebook, np.float32)})


@pytest.mark.parametrize(
    ("channels_first", "reason"),
    [(2, "channels_first must be 0 or 1"), (None, "expected the attribute channels_first, 0 or more")],
)
def test_invalid_attributes_are_rejected(library: Path, channels_first: int | None, reason: str) -> None:
    with pytest.raises((InvalidArgument, Fail, RuntimeException), match=f"NearestCodebook: {reason}"):
        session(library, TensorProto.FLOAT, 3, channels_first)
