"""The CUDA build: the resources of every kernel, the exported symbols, and the library on a machine without a GPU."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cuda_build
import numpy as np
import onnxruntime
import pytest
from build_setting import build_setting
from cuda_host import Launcher, Problem
from nearest_grid import KERNELS
from onnx import TensorProto, helper
from onnxruntime.capi.onnxruntime_pybind11_state import Fail
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NotImplemented_
from random_models import LIBRARY

pytestmark = pytest.mark.slow  # nvcc

ARCHITECTURES = ("sm_80", "sm_90", "sm_120")
KERNEL_NAMES = re.findall(
    r"LATENTLOOP_KERNEL (\w+)", (KERNELS / "nearest_codebook" / "cuda" / "entries.cu").read_text(encoding="utf-8")
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cuda_build.build(tmp_path_factory)


# ---- The report of ptxas.


@dataclass(frozen=True)
class Compiled:
    """The resources of a kernel on one architecture: bytes, and registers per thread."""

    stack: int
    spills: int
    registers: int
    shared: int


def resources(report: str) -> Iterator[tuple[tuple[str, str], Compiled]]:
    for entry in report.split("Compiling entry function ")[1:]:
        kernel, architecture = re.findall(r"'(\w+)'", entry)[:2]
        (stack, stores, loads) = re.findall(
            r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", entry
        )[0]
        used = re.search(r"Used (\d+) registers", entry)
        assert used is not None
        shared = re.search(r"(\d+) bytes smem", entry)
        spills = int(stores) + int(loads)
        yield (kernel, architecture), Compiled(int(stack), spills, int(used[1]), int(shared[1]) if shared else 0)


def test_no_kernel_spills(built: Path) -> None:
    report = dict(resources((built / "nearest_codebook.ptxas.txt").read_text(encoding="utf-8")))
    assert len(KERNEL_NAMES) == 11
    assert report.keys() == {(kernel, of) for kernel in KERNEL_NAMES for of in ARCHITECTURES}
    for kernel, compiled in report.items():
        assert (compiled.stack, compiled.spills) == (0, 0), kernel
        assert compiled.registers <= 255, kernel  # the limit for blocks of 256 threads is 64 Ki / 256 = 256
        assert compiled.shared <= 48 * 1024, kernel  # the limit of static shared memory
    assert any(compiled.shared for compiled in report.values())


def test_reports_with_spills_are_parsed() -> None:
    report = (
        "ptxas info    : Compiling entry function 'a' for 'sm_90'\n"
        "ptxas info    : Function properties for a\n"
        "    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads\n"
        "ptxas info    : Used 128 registers, used 1 barriers, 8 bytes cumulative stack size, 43008 bytes smem\n"
    )
    assert dict(resources(report)) == {("a", "sm_90"): Compiled(8, 16, 128, 43008)}


def test_module_holds_every_kernel(built: Path) -> None:
    image = (built / "nearest_codebook.fatbin").read_bytes()
    assert image[:4] == bytes.fromhex("50ed55ba"), "a fat binary"
    for kernel in KERNEL_NAMES:  # machine code is not compressed
        assert image.count(f".text.{kernel}\0".encode()) >= len(ARCHITECTURES), kernel


def test_library_exports_only_its_interface(built: Path) -> None:
    header = (KERNELS / "nearest_codebook" / "cuda" / "launch.h").read_text(encoding="utf-8")
    declared = re.findall(r"^LATENTLOOP_CUDA_API [\w *]+?(latentloop_\w+)\(", header, re.MULTILINE)
    assert len(declared) == 5
    assert cuda_build.exported(built / "liblatentloop_cuda.so") == {
        *declared,
        "latentloop_nearest_plan",
        "RegisterCustomOps",
    }


# ---- The sources.


def test_setup_names_every_source_of_the_files_for_gpus(built: Path) -> None:
    """From the lists of dependencies that the compilers wrote."""
    patterns = build_setting("CUDA_SOURCES")
    named = {path for pattern in patterns for path in KERNELS.glob(pattern)}
    lists = list(built.rglob("*.d"))
    assert len(lists) >= 3
    for file in lists:
        if "tensorrt" in file.parent.name:
            continue
        words = file.read_text(encoding="utf-8").replace("\\\n", " ").split()
        used = {path for word in words if KERNELS in (path := Path(word).resolve()).parents}
        assert used
        assert used <= named, file


# ---- The library without a GPU.


@pytest.fixture(scope="module")
def launcher(built: Path) -> Launcher:
    return Launcher(built / "liblatentloop_cuda.so")


def test_library_loads_without_a_driver(launcher: Launcher) -> None:
    assert launcher.sizes(Problem(4096, 0, 64, 512, 0, 0, 108)) == (513 * 4, 4096 * 4 * 16)


def test_the_error_names_the_missing_gpu(launcher: Launcher) -> None:
    device, multiprocessors = ctypes.c_int32(), ctypes.c_int32()
    if launcher.library.latentloop_cuda_device(ctypes.byref(device), ctypes.byref(multiprocessors)) == 0:
        pytest.skip("there is a GPU")
    assert re.match(r"the current device: CUDA error (35|100), ", launcher.error())
    zeros = np.zeros((3, 5), np.float32)
    with pytest.raises(RuntimeError, match=r"^setting `largest` to 0: CUDA error (35|100), "):
        launcher.nearest(Problem(3, 0, 5, 3, 0, 0, 1), zeros, zeros)


# ---- The operator libraries in ONNX Runtime, without its CUDA execution provider.


def model(kind: str, domain: str, **attributes: Any) -> bytes:
    """A model of one node: NearestCodebook with two codewords, or Identity."""
    inputs = ["z", "codebook"][: 2 if kind == "NearestCodebook" else 1]
    node = helper.make_node(kind, inputs, ["out"], domain=domain, **attributes)
    graph = helper.make_graph(
        [node],
        "graph",
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("out", TensorProto.INT64 if len(inputs) == 2 else TensorProto.FLOAT, None)],
        [helper.make_tensor("codebook", TensorProto.FLOAT, [2, 2], [3.0, 0.0, 0.0, 3.0])],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("latentloop", 1)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())


NEAREST = model("NearestCodebook", "latentloop", channels_first=0)
IDENTITY = model("Identity", "")
Z = {"z": np.array([[2, 0]], np.float32)}


def session(graph: bytes, *libraries: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    for library in libraries:
        options.register_custom_ops_library(str(library))
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def test_operators_need_the_cuda_provider(built: Path) -> None:
    with pytest.raises(NotImplemented_, match="Could not find an implementation for NearestCodebook"):
        session(NEAREST, built / "liblatentloop_cuda.so")


@pytest.mark.skipif(LIBRARY is None, reason="no operator library for the processor built")
def test_both_operator_libraries_work_in_one_process(built: Path) -> None:
    assert LIBRARY is not None
    other = session(IDENTITY, built / "liblatentloop_cuda.so")
    assert session(NEAREST, LIBRARY).run(None, Z)[0].tolist() == [0]
    assert other.run(None, Z)[0].tolist() == [[2, 0]]


@pytest.mark.skipif(LIBRARY is None, reason="no operator library for the processor built")
def test_a_session_accepts_only_one_operator_library(built: Path) -> None:
    """operators/cuda/register.cpp depends on this. If ONNX Runtime changes, GPU sessions could register both."""
    assert LIBRARY is not None
    with pytest.raises(Fail, match="Domain already set in registry"):
        session(IDENTITY, LIBRARY, built / "liblatentloop_cuda.so")
