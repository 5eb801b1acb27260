"""The driver over cuda-python, with the package as it is and a libcuda.so.1 that the host plays: every call is real."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from nearest_grid import NATIVE, compile_native, compiler

pytest.importorskip("cuda.bindings.driver", reason="cuda-python is not installed")
pytestmark = [
    pytest.mark.skipif(compiler() is None, reason="no C++ compiler"),
    pytest.mark.skipif(sys.platform != "linux", reason="libcuda.so.1 is Linux's"),
]


def test_searches(tmp_path: Path) -> None:
    shared = ["-O1", "-shared", "-fPIC"]
    kernels = compile_native([NATIVE / "grid" / "nearest.cpp"], tmp_path / "grid.so", shared)
    named = ["-Wall", "-Wextra", "-Werror", "-Wl,-soname,libcuda.so.1"]
    compile_native([NATIVE / "cuda" / "libcuda.cpp"], tmp_path / "libcuda.so.1", [*shared, *named])
    calls = tmp_path / "calls"
    places = {
        "LD_LIBRARY_PATH": str(tmp_path),
        "LATENTLOOP_TEST_KERNELS": str(kernels),
        "LATENTLOOP_TEST_CALLS": str(calls),
    }
    child = Path(__file__).with_name("cuda_python_child.py")
    command = [sys.executable, "-W", "error", str(child)]
    done = subprocess.run(command, env={**os.environ, **places}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    stream, pointer = done.stdout.splitlines()
    assert stream == "cuMemAllocAsync: CUDA_ERROR_INVALID_VALUE"
    assert pointer.endswith("is not memory of a GPU: cuPointerGetAttribute: CUDA_ERROR_INVALID_VALUE")

    counts = Counter(calls.read_text().split())
    assert counts["cuLaunchKernel"] == 2 * (1 + 4 * (2 + 3))
    assert counts["cuLibraryLoadData"] == 1
    assert counts["nearest_search_f32"] == counts["nearest_search_tensor_f16"] == 1  # looked up once
    assert counts["cuDevicePrimaryCtxRetain"] == 1
    for begun, ended in (
        ("cuCtxPushCurrent", "cuCtxPopCurrent"),
        ("cuEventCreate", "cuEventDestroy"),
        ("cuMemAllocAsync", "cuMemFreeAsync"),
    ):
        refused = begun == "cuMemAllocAsync"  # on a stream that is none
        assert counts[begun] == counts[ended] + refused, begun
    # The host waits where results are copied to it, and nowhere else.
    assert counts["cuStreamSynchronize"] == counts["cuMemcpyDtoHAsync"] == 2 * 4 * 2 * 3
    assert counts["cuCtxSynchronize"] == counts["cuEventSynchronize"] == 0
