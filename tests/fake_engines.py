"""The simulated GPU for programs in C++: a fake libcuda.so.1 and a fake TensorRT, compiled once per test run."""

from __future__ import annotations

from pathlib import Path

import pytest
from cuda_build import tensorrt_headers
from made_once import made_once
from nearest_grid import KERNELS, NATIVE, compile_native
from rtx_headers import patched_headers

FLAGS = ["-O1", "-g", "-shared", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror"]
TENSORRT, RTX = "libnvinfer.so.10", "libtensorrt_rtx.so.1"


def build_libcuda(folder: Path) -> None:
    """Compiles libcuda.so.1 into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    source = _as_one_source(NATIVE / "fake_libcuda", folder)
    compile_native([source], folder / "libcuda.so.1", [*FLAGS, "-Wl,-soname,libcuda.so.1"])


def libcuda_folder(folders: pytest.TempPathFactory) -> Path:
    """Returns the folder of the fake libcuda.so.1."""
    return made_once(folders, "fake_libcuda", build_libcuda)


def include_flags(headers: Path) -> list[str]:
    """Returns the flags for programs and libraries that include headers of TensorRT, which are in the folder."""
    folders = [headers, NATIVE / "fake_cuda_runtime", NATIVE, NATIVE / "fake_libcuda", KERNELS]
    return [*(f"-isystem{folder}" for folder in folders), "-Wno-deprecated-declarations"]


def build_tensorrt(folder: Path, headers: Path, name: str = TENSORRT) -> None:
    """Compiles a fake TensorRT into the folder of libcuda.so.1."""
    flags = [*FLAGS, *include_flags(headers)]
    flags += ["-Wl,--no-as-needed", f"-L{folder}", "-l:libcuda.so.1", "-ldl", "-lcrypto"]
    flags += ["-Wl,-rpath,$ORIGIN", f"-Wl,-soname,{name}"]
    compile_native([_as_one_source(NATIVE / "fake_tensorrt", folder)], folder / name, flags)


def _as_one_source(room: Path, folder: Path) -> Path:
    """Writes a file that includes all sources of a folder: the compiler then reads the headers once."""
    source = folder / f"{room.name}.cpp"
    source.write_text("".join(f'#include "{path}"\n' for path in sorted(room.glob("*.cpp"))))
    return source


def engines_folder(folders: pytest.TempPathFactory) -> Path:
    """Returns a folder with libcuda.so.1, libnvinfer.so.10 and libtensorrt_rtx.so.1; the headers of the latter are in
    ``include``. Skips the test if there are no headers of TensorRT.
    """
    headers = tensorrt_headers()
    if headers is None:
        pytest.skip("no headers of TensorRT: pip install kernel-lens, or set NVINFER_INCLUDE")

    def make(folder: Path) -> None:
        build_libcuda(folder)
        build_tensorrt(folder, headers)
        patched_headers(headers, folder / "include")
        build_tensorrt(folder, folder / "include", RTX)

    return made_once(folders, "fake_engines", make)
