"""Engines in liblatentloop on the simulated GPU, with the address sanitizer and that of undefined behaviour."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cuda_build import run
from engine_library import build
from fake_engines import TENSORRT
from made_once import made_once
from test_embedded_engines import bundle, run_child, simulated
from test_embedding_native import SANITIZERS, in_long_runs

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
    def make(folder: Path) -> None:
        build(folder, SANITIZERS, "-DCMAKE_BUILD_TYPE=None")

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
