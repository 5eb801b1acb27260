"""Engines in liblatentloop on the simulated GPU, with the address sanitizer and that of undefined behaviour."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from cuda_build import run, tensorrt_headers
from engine_library import SOURCES
from fake_engines import TENSORRT
from made_once import made_once
from nearest_grid import NATIVE
from test_embedded_engines import bundle, run_child, simulated
from test_embedding_native import SANITIZERS, in_long_runs
from test_embedding_package import required

from latentloop.kernels.library import operators

__all__ = ["bundle", "simulated"]  # fixtures
RUNTIMES = ("libasan.so", "libubsan.so")


def runtimes() -> str:
    """Returns the sanitizers' libraries, which the process has to load first. Skips the test without them."""
    found = [run("c++", f"-print-file-name={name}").strip() for name in RUNTIMES]
    if not all(Path(path).is_absolute() for path in found):
        pytest.skip("no libraries of the sanitizers")
    return " ".join(found)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    required("cmake", "c++")
    headers = tensorrt_headers()
    if headers is None:
        pytest.skip("no headers of TensorRT: pip install kernel-lens, or set NVINFER_INCLUDE")

    def make(folder: Path) -> None:
        options = ["-DLATENTLOOP_TENSORRT=ON", f"-DNVINFER_INCLUDE={headers}", "-DBUILD_TESTING=OFF"]
        options.append("-DLATENTLOOP_OPERATORS=OFF")  # those of the installed library are used, which is quicker
        options += [f"-DCUDA_INCLUDE_DIR={NATIVE / 'cuda_types'}", "-DCMAKE_BUILD_TYPE=None"]
        run("cmake", "-S", SOURCES, "-B", folder, *options, f"-DCMAKE_CXX_FLAGS={SANITIZERS}")
        run("cmake", "--build", folder, "--parallel", "2")
        if (library := operators()) is not None:
            shutil.copy(library, folder)

    return made_once(tmp_path_factory, "engine_library_with_sanitizers", make) / "liblatentloop.so"


@pytest.mark.slow
@in_long_runs
def test_with_sanitizers(library: Path, bundle: Path, simulated: Path) -> None:
    """Leaks are not searched for: the interpreter has many, and the other tests count what is on the GPU."""
    symbols = subprocess.run(["nm", "-D", str(library)], capture_output=True, text=True, check=True).stdout
    assert "__asan_init" in symbols
    assert "__ubsan_handle" in symbols
    variables = {"LD_PRELOAD": runtimes(), "ASAN_OPTIONS": "detect_leaks=0"}
    assert " passed" in run_child(library, bundle, simulated, TENSORRT, "-m", "not slow", **variables)
