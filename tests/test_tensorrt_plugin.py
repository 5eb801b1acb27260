"""The TensorRT plugin: as TensorRT's interfaces use it, over the launcher for the host, and loaded into TensorRT."""

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
from mutants import Mutant, replace_once
from nearest_grid import KERNELS, NATIVE, SANITIZERS, compile_native, compiler

NO_HEADERS = "no NvInfer.h: NVINFER_INCLUDE names no folder, and no package brings it"


# ---- By its interfaces.


@dataclass(frozen=True)
class Host:
    """What a program that uses the plugin is made of besides the plugin."""

    flags: list[str]

    def run(self, folder: Path, kernels: Path = KERNELS) -> subprocess.CompletedProcess[str]:
        """Runs tests/native/plugin_test.cpp with the plugin of ``kernels``."""
        sources = sorted((kernels / "tensorrt").glob("*.cpp"))
        out = compile_native(sources, folder / "plugin_test", self.flags, kernels)
        return subprocess.run([out], capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    headers = cuda_build.tensorrt_headers()
    if headers is None or compiler() is None:
        pytest.skip(NO_HEADERS if headers is None else "no C++ compiler")
    folder = tmp_path_factory.mktemp("plugin")
    flags = [*SANITIZERS, "-Wall", "-Wextra", "-Werror", *HOST_INCLUDES, "-isystem", str(headers)]
    launcher = compile_host([], folder / "liblaunch.so", [*SANITIZERS, "-shared", "-fPIC"])
    program = compile_native([NATIVE / "plugin_test.cpp"], folder / "plugin_test.o", [*flags, "-c"])
    return Host([*flags, str(program), str(launcher), f"-Wl,-rpath,{folder}"])


def test_plugin_does_what_tensorrt_asks(host: Host, tmp_path: Path) -> None:
    done = host.run(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


MUTANTS = [
    Mutant(
        "the layout lost by a copy",
        "nearest_codebook.cpp",
        "NearestCodebook(channels_first_);",
        "NearestCodebook(false);",
    ),
    Mutant(
        "the other layout restored",
        "nearest_codebook.cpp",
        "field_(kChannelsFirst, &channels_first_",
        "field_(kChannelsFirst, &fields_.nbFields",
    ),
    Mutant("the axis kept", "nearest_codebook.cpp", "z.d + axis + 1, z.d + z.nbDims", "z.d + axis, z.d + z.nbDims - 1"),
    Mutant("no room for the norms", "nearest_codebook.cpp", "prepared + workspace)", "0 * prepared + workspace)"),
    Mutant(
        "norms over the partial results",
        "nearest_codebook.cpp",
        "static_cast<char*>(workspace) + memory.workspace_bytes",
        "static_cast<char*>(workspace)",
    ),
    Mutant(
        "codebooks of another type",
        "nearest_codebook.cpp",
        "tensor.type == tensors[0].desc.type",
        "tensor.type != DataType::kINT8 || true",
    ),
    Mutant("any layout", "plugin.cpp", "channels_first == 0 || channels_first == 1", "channels_first >= 0"),
]


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.fault)
def test_plugins_that_are_wrong_are_found(mutant: Mutant, host: Host, tmp_path: Path) -> None:
    kernels = tmp_path / "kernels"
    for folder in ("tensorrt", "nearest_codebook"):
        shutil.copytree(
            KERNELS / folder, kernels / folder, ignore=shutil.ignore_patterns("*.py", "*.fatbin", "__pycache__")
        )
    replace_once(kernels / "tensorrt" / mutant.file, mutant.text, mutant.replacement)
    done = host.run(tmp_path, kernels)
    assert done.returncode == 1, done.stdout + done.stderr


# ---- In TensorRT.


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if cuda_build.tensorrt_headers() is None:
        pytest.skip(NO_HEADERS)
    return cuda_build.build(tmp_path_factory) / "liblatentloop_tensorrt.so"


def test_library_stands_alone(library: Path) -> None:
    """It needs no library of TensorRT's, whose names differ, and shows no more than TensorRT looks for."""
    assert cuda_build.exported(library) == {"getCreators", "setLoggerFinder"}
    assert "nvinfer" not in cuda_build.run("ldd", library)


@pytest.mark.parametrize("flavour", ["tensorrt", "tensorrt_lean_bindings", "tensorrt_rtx_bindings"])
def test_tensorrt_loads_the_library(flavour: str, library: Path) -> None:
    if importlib.util.find_spec(flavour) is None:
        pytest.skip(f"no {flavour} installed")
    command = [sys.executable, str(Path(__file__).with_name("load_plugin.py")), flavour, str(library)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"fields": ["channels_first"], "made": [True, True, False]}
