"""The TensorRT plugin: through TensorRT's interfaces with the launcher for the CPU, and loaded into TensorRT."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cuda_build
import pytest
from cuda_host import HOST_INCLUDES, compile_host
from mutants import Mutant
from nearest_grid import KERNELS, NATIVE, SANITIZERS, compile_native, compiler
from plugin_mutants import MUTANTS

NO_HEADERS = "no NvInfer.h: NVINFER_INCLUDE is not set, and no installed package contains it"


# ---- Through TensorRT's interfaces.


@dataclass(frozen=True)
class TestProgram:
    """The test program without the plugin: compiler flags and object files."""

    __test__ = False

    flags: list[str]

    def run(self, folder: Path, kernels: Path = KERNELS) -> subprocess.CompletedProcess[str]:
        """Links tests/native/plugin_test.cpp with the plugin of ``kernels`` and runs it."""
        sources = sorted((kernels / "tensorrt").glob("*.cpp"))
        out = compile_native(sources, folder / "plugin_test", self.flags, kernels)
        return subprocess.run([out], capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> TestProgram:
    headers = cuda_build.tensorrt_headers()
    if headers is None or compiler() is None:
        pytest.skip(NO_HEADERS if headers is None else "no C++ compiler")
    folder = tmp_path_factory.mktemp("plugin")
    flags = [*SANITIZERS, "-Wall", "-Wextra", "-Werror", *HOST_INCLUDES, "-isystem", str(headers)]
    launcher = compile_host([], folder / "liblaunch.so", [*SANITIZERS, "-shared", "-fPIC"])
    compiled = compile_native([NATIVE / "plugin_test.cpp"], folder / "plugin_test.o", [*flags, "-c"])
    return TestProgram([*flags, str(compiled), str(launcher), f"-Wl,-rpath,{folder}"])


def test_plugin_interfaces(program: TestProgram, tmp_path: Path) -> None:
    done = program.run(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.fault)
def test_faulty_plugins_are_detected(mutant: Mutant, program: TestProgram, tmp_path: Path) -> None:
    kernels = tmp_path / "kernels"
    for folder in ("tensorrt", "nearest_codebook"):
        shutil.copytree(
            KERNELS / folder, kernels / folder, ignore=shutil.ignore_patterns("*.py", "*.fatbin", "__pycache__")
        )
    mutant.insert(kernels / "tensorrt")
    done = program.run(tmp_path, kernels)
    assert done.returncode == 1, done.stdout + done.stderr


# ---- In TensorRT.


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if cuda_build.tensorrt_headers() is None:
        pytest.skip(NO_HEADERS)
    return cuda_build.build(tmp_path_factory) / "liblatentloop_tensorrt.so"


def test_library_has_no_tensorrt_dependency(library: Path) -> None:
    """TensorRT's library names differ between its editions. The plugin exports only the required functions."""
    assert cuda_build.exported(library) == {"getCreators", "setLoggerFinder"}
    assert "nvinfer" not in cuda_build.run("ldd", library)


@pytest.mark.parametrize("package", ["tensorrt", "tensorrt_lean_bindings", "tensorrt_rtx_bindings"])
def test_tensorrt_loads_the_library(package: str, library: Path) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    command = [sys.executable, str(Path(__file__).with_name("load_plugin.py")), package, str(library)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"fields": ["channels_first"], "created": [True, True, False]}
