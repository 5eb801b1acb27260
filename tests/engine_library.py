"""liblatentloop with engines, built with CMake once per test run, and variants of it: another flavour, or a mutant."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from cuda_build import run, tensorrt_headers
from fake_engines import engines_folder
from made_once import made_once
from nearest_grid import NATIVE
from test_embedding_package import required

from latentloop.kernels.library import operators

SOURCES = Path(__file__).parents[1] / "runtime" / "cpp"
FLAGS = ("-std=c++17", "-O1", "-fPIC", "-fvisibility=hidden", "-DLATENTLOOP_BUILDING", "-DLATENTLOOP_TENSORRT")
WARNINGS = "-Wall -Wextra -Wpedantic -Werror"


def build(folder: Path, flags: str, *options: str) -> None:
    """Builds the library with these flags of the compiler. Skips the test without the tools."""
    required("cmake", "c++")
    headers = tensorrt_headers()
    if headers is None:
        pytest.skip("no headers of TensorRT: pip install kernel-lens, or set NVINFER_INCLUDE")
    found = [f"-DNVINFER_INCLUDE={headers}", f"-DCUDA_INCLUDE_DIR={NATIVE / 'cuda_types'}"]
    # The operators take longest to compile, and the package has them.
    chosen = ["-DLATENTLOOP_TENSORRT=ON", "-DLATENTLOOP_OPERATORS=OFF", "-DBUILD_TESTING=OFF", *options]
    run("cmake", "-S", SOURCES, "-B", folder, *found, *chosen, f"-DCMAKE_CXX_FLAGS={flags}")
    run("cmake", "--build", folder, "--parallel", "2")
    if (library := operators()) is not None:
        shutil.copy(library, folder)


def build_folder(folders: pytest.TempPathFactory) -> Path:
    """Returns CMake's folder of the build, with the installation in ``installed``. Skips the test without the tools."""

    def make(folder: Path) -> None:
        build(folder, WARNINGS)
        run("cmake", "--install", folder, "--prefix", folder / "installed")

    return made_once(folders, "engine_library", make)


def for_rtx(folders: pytest.TempPathFactory) -> Path:
    """Returns the file of the library that is built for TensorRT for RTX."""
    base, headers = build_folder(folders), engines_folder(folders) / "include"

    def make(folder: Path) -> None:
        folder.mkdir()
        sources = [*(SOURCES / "tensorrt").glob("*.cpp"), SOURCES / "api" / "devices.cpp"]
        link_variant(base, sources, headers, folder / "liblatentloop.so")

    return made_once(folders, "engine_library_for_rtx", make) / "liblatentloop.so"


def link_variant(base: Path, sources: Sequence[Path], headers: Path, out: Path, root: Path = SOURCES) -> Path:
    """Compiles sources of the tree ``root``, links them with the other objects of a build, and returns ``out``."""
    replaced, processes = {}, []
    for source in sources:
        name = str(source.relative_to(root))
        replaced[name] = out.parent / f"{name.replace('/', '-')}.o"
        includes = [f"-I{root / 'include'}", f"-I{root}", f"-isystem{headers}", f"-isystem{NATIVE / 'cuda_types'}"]
        processes.append(subprocess.Popen(["c++", *FLAGS, *includes, "-c", str(source), "-o", str(replaced[name])]))
    assert [process.wait() for process in processes] == [0] * len(processes)
    objects = base / "CMakeFiles" / "latentloop.dir"
    others = [path for path in objects.rglob("*.o") if str(path.relative_to(objects).with_suffix("")) not in replaced]
    run("c++", "-shared", *others, *replaced.values(), "-o", out, "-lcrypto", "-pthread", "-ldl")
    return out
