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


SHARED = ["-O1", "-shared", "-fPIC"]


@pytest.fixture(scope="module")
def libcuda(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a libcuda.so.1."""
    folder = tmp_path_factory.mktemp("libcuda")
    named = ["-Wall", "-Wextra", "-Werror", "-Wl,-soname,libcuda.so.1"]
    compile_native([NATIVE / "cuda" / "libcuda.cpp"], folder / "libcuda.so.1", [*SHARED, *named])
    return folder


def played(child: str, libcuda: Path, calls: Path, **places: str) -> tuple[str, Counter[str]]:
    """What the child printed, and how often it called what."""
    command = [sys.executable, "-W", "error", str(Path(__file__).with_name(child))]
    names = {"LD_LIBRARY_PATH": str(libcuda), "LATENTLOOP_TEST_CALLS": str(calls), **places}
    done = subprocess.run(command, env={**os.environ, **names}, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout, Counter(calls.read_text().split())


def test_driver(libcuda: Path, tmp_path: Path) -> None:
    _, counts = played("cuda_python_driver_child.py", libcuda, tmp_path / "calls")
    assert counts["cuStreamCreate"] == 0  # all are NON_BLOCKING
    assert counts["cuCtxPushCurrent"] == counts["cuCtxPopCurrent"]
    assert counts["cuGraphDestroy"] == counts["cuStreamEndCapture:graph"] > counts["cuGraphInstantiate"]
    refused = {"cuMemHostAlloc": 1}
    for begun, ended in (
        ("cuStreamCreate:NON_BLOCKING", "cuStreamDestroy"),
        ("cuMemHostAlloc", "cuMemFreeHost"),
        ("cuMemAllocAsync", "cuMemFreeAsync"),
        ("cuEventCreate", "cuEventDestroy"),
        ("cuGraphInstantiate", "cuGraphExecDestroy"),
    ):
        left = 1  # at the end of the process
        assert counts[begun] == counts[ended] + refused.get(begun, 0) + left, begun


def test_searches(libcuda: Path, tmp_path: Path) -> None:
    kernels = compile_native([NATIVE / "grid" / "nearest.cpp"], tmp_path / "grid.so", SHARED)
    printed, counts = played("cuda_python_child.py", libcuda, tmp_path / "calls", LATENTLOOP_TEST_KERNELS=str(kernels))
    stream, pointer = printed.splitlines()
    assert stream == "cuMemAllocAsync: CUDA_ERROR_INVALID_HANDLE"
    assert pointer.endswith("is not memory of a GPU: cuPointerGetAttribute: CUDA_ERROR_INVALID_VALUE")

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
