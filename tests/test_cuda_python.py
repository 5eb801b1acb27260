"""The driver through the real cuda-python package, with a fake libcuda.so.1 that simulates a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from fake_engines import libcuda_folder
from nearest_grid import NATIVE, compile_native, compiler

pytest.importorskip("cuda.bindings.driver", reason="cuda-python is not installed")
pytestmark = [
    pytest.mark.skipif(compiler() is None, reason="no C++ compiler"),
    pytest.mark.skipif(sys.platform != "linux", reason="libcuda.so.1 exists only on Linux"),
]


SHARED = ["-O1", "-shared", "-fPIC"]


@pytest.fixture(scope="module")
def libcuda(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the folder of the fake libcuda.so.1."""
    return libcuda_folder(tmp_path_factory)


def run_child(child: str, libcuda: Path, calls: Path, **environment: str) -> tuple[str, Counter[str]]:
    """Runs a program with the fake libcuda. Returns its output, and the number of calls of each function."""
    command = [sys.executable, "-W", "error", str(Path(__file__).with_name(child))]
    variables = {"LD_LIBRARY_PATH": str(libcuda), "LATENTLOOP_TEST_CALLS": str(calls), **environment}
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout, Counter(calls.read_text().split())


def test_driver(libcuda: Path, tmp_path: Path) -> None:
    _, counts = run_child("cuda_python_driver_child.py", libcuda, tmp_path / "calls")
    assert counts["cuStreamCreate"] == 0  # all are NON_BLOCKING
    assert counts["cuCtxPushCurrent"] == counts["cuCtxPopCurrent"]
    assert counts["cuGraphDestroy"] == counts["cuStreamEndCapture:graph"] > counts["cuGraphInstantiate"]
    rejected = {"cuMemHostAlloc": 1}
    for create, destroy in (
        ("cuStreamCreate:NON_BLOCKING", "cuStreamDestroy"),
        ("cuMemHostAlloc", "cuMemFreeHost"),
        ("cuMemAllocAsync", "cuMemFreeAsync"),
        ("cuEventCreate", "cuEventDestroy"),
        ("cuGraphInstantiate", "cuGraphExecDestroy"),
    ):
        left_at_exit = 1
        assert counts[create] == counts[destroy] + rejected.get(create, 0) + left_at_exit, create


@pytest.mark.slow
def test_searches(libcuda: Path, tmp_path: Path) -> None:
    kernels = compile_native([NATIVE / "grid" / "nearest.cpp"], tmp_path / "grid.so", SHARED)
    printed, counts = run_child(
        "cuda_python_child.py", libcuda, tmp_path / "calls", LATENTLOOP_TEST_KERNELS=str(kernels)
    )
    stream, pointer = printed.splitlines()
    assert stream == "cuMemAllocAsync: CUDA_ERROR_INVALID_HANDLE"
    assert pointer.endswith("is not memory of a GPU: cuPointerGetAttribute: CUDA_ERROR_INVALID_VALUE")

    assert counts["cuLaunchKernel"] == 2 * (1 + 4 * (2 + 3))
    assert counts["cuLibraryLoadData"] == 1
    assert counts["nearest_search_f32"] == counts["nearest_search_tensor_f16"] == 1  # cached
    assert counts["cuDevicePrimaryCtxRetain"] == 1
    for create, destroy in (
        ("cuCtxPushCurrent", "cuCtxPopCurrent"),
        ("cuEventCreate", "cuEventDestroy"),
        ("cuMemAllocAsync", "cuMemFreeAsync"),
    ):
        rejected = create == "cuMemAllocAsync"  # on an invalid stream
        assert counts[create] == counts[destroy] + rejected, create
    # The host waits only where it copies results.
    assert counts["cuStreamSynchronize"] == counts["cuMemcpyDtoHAsync"] == 2 * 4 * 2 * 3
    assert counts["cuCtxSynchronize"] == counts["cuEventSynchronize"] == 0
