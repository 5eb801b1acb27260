"""The CUDA build of kernels/ with CMake, once per test run; warnings are errors."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from made_once import made_once
from nearest_grid import KERNELS


def nvcc() -> str | None:
    """Returns the path of nvcc, or None."""
    names = ("nvcc", "/usr/local/cuda/bin/nvcc")
    return next((path for name in names if (path := shutil.which(name))), None)


def tensorrt_headers() -> Path | None:
    """Returns the folder of NvInfer.h: NVINFER_INCLUDE, or that of an installed package; None if there is none."""
    if folder := os.environ.get("NVINFER_INCLUDE"):
        return Path(folder)
    package = importlib.util.find_spec("kernel_lens")
    if package is None or package.origin is None:
        return None
    return Path(package.origin).parent / "include" / "tensorrt"


def build(folders: pytest.TempPathFactory) -> Path:
    """Builds the libraries and returns their folder. Skips the test if nvcc or CMake is missing."""
    compiler = nvcc()
    if compiler is None or shutil.which("cmake") is None:
        pytest.skip("no nvcc or no CMake")
    headers = tensorrt_headers()
    options = ["-DCMAKE_COMPILE_WARNING_AS_ERROR=ON", f"-DCMAKE_CUDA_COMPILER={compiler}"]
    options += [f"-DNVINFER_INCLUDE={headers}"] if headers else []

    def make(folder: Path) -> None:
        run("cmake", "-S", KERNELS, "-B", folder, *options)
        run("cmake", "--build", folder, "--parallel", "2")

    return made_once(folders, "cuda_build", make)


def run(*command: str | Path) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
    assert done.returncode == 0, done.stdout
    return done.stdout


def exported(library: Path) -> set[str]:
    """Returns the names of the functions that a library exports."""
    lines = run("nm", "-D", "--defined-only", library).splitlines()
    return {name for _, kind, name in (line.split() for line in lines) if kind == "T"}
