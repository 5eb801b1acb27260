"""The rate of matrix products on this machine, float32 and int8, by each installed library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import torch
from onnx import helper, numpy_helper

from latentloop.bench.machine.clock import fastest
from latentloop.kernels.element_types import ELEMENT_TYPES, FLOAT32, INT32

SIZE = 1536  # of the square matrices: 7.2 GFLOP, 28 MB
SECONDS = 1.0  # per library


def measure_gemm(threads: int, size: int = SIZE, seconds: float = SECONDS) -> dict[str, Any]:
    """Returns {"float32": {library: GFLOP/s}, "int8": {library: GOP/s, or a reason}}; a multiply-add counts as two."""
    torch.set_num_threads(threads)
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((size, size), np.float32) for _ in range(2))
    u = rng.integers(0, 255, (size, size)).astype(np.uint8)
    s, t = (rng.integers(-127, 127, (size, size)).astype(np.int8) for _ in range(2))
    ta, tb, ts, tt = (torch.from_numpy(x) for x in (a, b, s, t))
    products: dict[str, dict[str, Callable[[], object]]] = {
        "float32": {
            "PyTorch": lambda: ta @ tb,
            "NumPy": lambda: a @ b,
            "ONNX Runtime": _onnx("MatMul", a, b, threads),
        },
        "int8": {
            "ONNX Runtime, uint8 x int8": _onnx("MatMulInteger", u, s, threads),
            "ONNX Runtime, int8 x int8": _onnx("MatMulInteger", t, s, threads),
            "PyTorch _int_mm": lambda: torch._int_mm(ts, tt),
        },
    }
    return {
        kind: {name: _gops(call, 2 * size**3, seconds) for name, call in by_library.items()}
        for kind, by_library in products.items()
    }


def _gops(call: Callable[[], object], operations: int, seconds: float) -> float | str:
    """Returns 1e9 operations per second of the fastest run, or why the library cannot run it."""
    try:
        return operations / fastest(call, seconds) / 1e9
    except Exception as error:  # each library has exceptions of its own
        return f"not available: {next(iter(str(error).splitlines()), type(error).__name__)[:120]}"


def _onnx(kind: str, x: np.ndarray, weight: np.ndarray, threads: int) -> Callable[[], object]:
    """Returns a run of one product whose second matrix is constant, like weights: ONNX Runtime packs it once."""
    types = ELEMENT_TYPES[x.dtype.name].onnx, (FLOAT32 if kind == "MatMul" else INT32).onnx
    graph = helper.make_graph(
        [helper.make_node(kind, ["x", "w"], ["y"])],
        kind,
        [helper.make_tensor_value_info("x", types[0], x.shape)],
        [helper.make_tensor_value_info("y", types[1], [x.shape[0], weight.shape[1]])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": x})
