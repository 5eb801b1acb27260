"""liblatentloop as C, C++ and Rust programs get it: from the wheel, and from CMake's installation."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from build_setting import build_setting
from built_wheel import installed_wheel
from made_once import made_once
from PIL import Image

from latentloop import Bundle, MissingError, Sampler
from latentloop.environment import c_library
from latentloop.environment.c_library import onnxruntime_library

ROOT = Path(__file__).parents[1]
BUNDLE = ROOT / "runtime" / "data" / "planets"
HEADER = ROOT / "runtime" / "cpp" / "include" / "latentloop" / "latentloop.h"
FLAGS = ["-DCMAKE_C_FLAGS=-Wall -Wextra -Wpedantic -Werror", "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Wpedantic -Werror"]
SYSTEM_LIBRARIES = re.compile(r"(libc|libm|libpthread|libdl|ld-linux[\w-]*|libgcc_s)\.so\.\d")


def run(*command: object, **environment: str) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, env={**os.environ, **environment}, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
    return done.stdout


def required(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder `cpp` of an installed wheel."""
    folder = installed_wheel(tmp_path_factory) / "latentloop" / "cpp"
    if not (folder / "lib" / "liblatentloop.so").exists():
        pytest.skip("liblatentloop was not built: nlohmann-json3-dev or libssl-dev is not installed")
    return folder


def build_examples(package: Path, folder: Path, *options: str) -> None:
    """Builds examples/ in a folder against a CMake package, without warnings."""
    run("cmake", "-S", ROOT / "examples", "-B", folder, f"-Dlatentloop_DIR={package}", *FLAGS, *options)
    run("cmake", "--build", folder, "--parallel", "2")


def check_examples(folder: Path, tmp_path: Path, operators: Path) -> None:
    """Runs the programs without LD_LIBRARY_PATH, and compares their pictures with those of Python.

    They must load the native operators from the path ``operators``.
    """
    sampler = Sampler(Bundle.open(BUNDLE), "cpu")
    places = {"LATENTLOOP_ONNXRUNTIME": str(onnxruntime_library()), "LD_LIBRARY_PATH": "", "PATH": str(folder)}
    for program in (folder / "one_image", "one_image", folder / "one_image_rust"):
        if not (folder / program).exists():
            continue
        traced = {"LD_DEBUG": "files", "LD_DEBUG_OUTPUT": str(tmp_path / "loaded")}
        run(program, BUNDLE, 7, tmp_path / "one.ppm", **places, **traced)
        (log,) = tmp_path.glob("loaded.*")
        loaded = re.findall(r"calling init: (\S*liblatentloop_operators\S*)", log.read_text(encoding="utf-8"))
        assert [Path(path).resolve() for path in loaded] == [operators.resolve()]
        log.unlink()
        np.testing.assert_array_equal(read(tmp_path / "one.ppm"), sampler.sample(1, seeds=7).images[0])

    run(folder / "two_threads", BUNDLE, 3, tmp_path, **places)
    for seed in range(3):
        np.testing.assert_array_equal(
            read(tmp_path / f"{seed}.ppm"), sampler.sample(1, seeds=seed, labels=[seed]).images[0]
        )

    if (folder / "engines").exists():  # CUDA's toolkit is installed
        command = [str(folder / "engines"), str(BUNDLE), "1", "1", str(tmp_path / "engines.ppm")]
        done = subprocess.run(command, env={**os.environ, **places}, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "this library was built without TensorRT" in done.stderr

    if not (folder / "grid").exists():
        pytest.skip("the example that writes PNG files was not built: libpng-dev is not installed")
    run(folder / "grid", BUNDLE, 3, 5, tmp_path / "grid.png", **places)
    side_by_side = np.concatenate([*sampler.sample(3, seeds=5).images], axis=1)
    np.testing.assert_array_equal(read(tmp_path / "grid.png"), side_by_side)


def read(path: Path) -> Any:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.slow
def test_programs_built_against_the_wheel_draw_the_images_of_python(installed: Path, tmp_path: Path) -> None:
    required("cmake")
    package = run(sys.executable, "-m", "latentloop", "info", "--cmake-dir", PYTHONPATH=str(installed.parents[1]))
    assert Path(package.strip()) == installed / "lib" / "cmake" / "latentloop"
    build_examples(Path(package.strip()), tmp_path / "build")
    assert shutil.which("rustc") is None or (tmp_path / "build" / "one_image_rust").exists()
    check_examples(tmp_path / "build", tmp_path, installed.parent / "kernels" / "liblatentloop_operators.so")


@pytest.mark.slow
def test_programs_get_the_library_from_pkg_config(installed: Path, tmp_path: Path) -> None:
    required("pkg-config", "cc")
    flags = run("pkg-config", "--cflags", "--libs", "latentloop", PKG_CONFIG_PATH=str(installed / "lib" / "pkgconfig"))
    run("cc", "-std=c99", ROOT / "examples" / "one_image.c", *flags.split(), "-o", tmp_path / "one_image")
    places = {"LATENTLOOP_ONNXRUNTIME": str(onnxruntime_library().parent), "LD_LIBRARY_PATH": str(installed / "lib")}
    run(tmp_path / "one_image", BUNDLE, 7, tmp_path / "one.ppm", **places)
    expected = Sampler(Bundle.open(BUNDLE), "cpu").sample(1, seeds=7).images[0]
    np.testing.assert_array_equal(read(tmp_path / "one.ppm"), expected)


@pytest.mark.slow
def test_it_exports_the_functions_of_the_header_and_needs_no_other_library(installed: Path) -> None:
    required("nm", "objdump")
    library = installed / "lib" / "liblatentloop.so"
    defined = {line.split()[-1] for line in run("nm", "-D", "--defined-only", library).splitlines()}
    declared = set(re.findall(r"LL_API [^(]*?\b(ll_\w+)\(", HEADER.read_text(encoding="utf-8")))
    assert len(declared) >= 25
    assert defined == {"LATENTLOOP_0", *(f"{name}@@LATENTLOOP_0" for name in declared)}
    headers = run("objdump", "--private-headers", library)
    assert re.findall(r"SONAME\s+(\S+)", headers) == ["liblatentloop.so"]
    needed = re.findall(r"NEEDED\s+(\S+)", headers)
    assert needed
    assert all(map(SYSTEM_LIBRARIES.fullmatch, needed)), needed


@pytest.mark.slow
def test_its_cmake_package_can_be_moved_and_checks_the_version(installed: Path, tmp_path: Path) -> None:
    required("cmake")
    moved = tmp_path / "a folder" / "latentloop"
    shutil.copytree(installed, moved / "cpp")
    (moved / "kernels").mkdir()
    operators = shutil.copy(installed.parent / "kernels" / "liblatentloop_operators.so", moved / "kernels")
    project = tmp_path / "project"
    project.mkdir()
    (project / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.18)\nproject(test LANGUAGES NONE)\n"
        "find_package(latentloop ${wanted} CONFIG REQUIRED)\n"
        'file(GENERATE OUTPUT found CONTENT "$<TARGET_FILE:latentloop::latentloop>\n'
        '$<TARGET_FILE:latentloop::operators>\n$<TARGET_PROPERTY:latentloop::latentloop,INTERFACE_INCLUDE_DIRECTORIES>")\n',
        encoding="utf-8",
    )

    def configure(wanted: str) -> str:
        command = ["cmake", "-S", str(project), "-B", str(tmp_path / "build"), f"-Dwanted={wanted}"]
        command.append(f"-DCMAKE_PREFIX_PATH={moved / 'cpp'}")
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode == 0) == (done.stderr == "")
        return done.stderr

    for wanted in ("", "0.0.9", "0.1"):
        assert configure(wanted) == ""
    found = (tmp_path / "build" / "found").read_text(encoding="utf-8").splitlines()
    library, include = moved / "cpp" / "lib" / "liblatentloop.so", moved / "cpp" / "include"
    assert found == [str(library), str(operators), str(include)]
    for wanted in ("0.99", "1.0"):
        assert "compatible with requested version" in configure(wanted)
    library.unlink()
    assert "liblatentloop.so does not exist: reinstall LatentLoop" in " ".join(configure("").split())


@pytest.mark.slow
def test_info_names_the_remedy_if_something_is_missing(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpp" / "lib").mkdir(parents=True)
    monkeypatch.setattr(c_library, "__file__", str(tmp_path / "environment" / "c_library.py"))
    with pytest.raises(MissingError, match=r"was not built: .*nlohmann-json3-dev libssl-dev\) and reinstall"):
        c_library.cmake_folder()
    assert "was not built" in c_library.described()
    library = tmp_path / "cpp" / "lib" / "liblatentloop.so"
    content = (installed / "lib" / "liblatentloop.so").read_bytes()
    library.write_bytes(content[: len(content) // 2])
    with pytest.raises(MissingError, match=r"cannot be loaded: truncated, .*: reinstall latentloop"):
        c_library.library()
    library.write_bytes(content)
    assert c_library.described().endswith(f" ({library})")

    (tmp_path / "onnxruntime").mkdir()
    (tmp_path / "onnxruntime" / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "onnxruntime")
    with pytest.raises(MissingError, match=r"has no libonnxruntime.so: pip install --force-reinstall onnxruntime"):
        onnxruntime_library()
    shutil.rmtree(tmp_path / "onnxruntime")
    with pytest.raises(MissingError, match="pip install onnxruntime"):
        onnxruntime_library()


# ---- From source, with CMake


def configured(folder: Path, *options: str) -> Path:
    required("cmake")
    run("cmake", "-S", ROOT / "runtime" / "cpp", "-B", folder, "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON", *options)
    return folder


@pytest.fixture(scope="module")
def built(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CMake's build folder."""

    def build(folder: Path) -> None:
        configured(folder)
        output = run("sh", "-c", f"cmake --build '{folder}' --parallel 2 2>&1")
        assert "warning: " not in output, output

    assert installed
    return made_once(tmp_path_factory, "cmake-build", build)


@pytest.mark.slow
def test_cmake_builds_tests_and_installs(built: Path, tmp_path: Path) -> None:
    output = run("ctest", "--test-dir", built, "--output-on-failure", LATENTLOOP_ONNXRUNTIME=str(onnxruntime_library()))
    programs = [*(ROOT / "tests" / "native" / "embedding").glob("*_test.c*")]
    assert f"100% tests passed, 0 tests failed out of {len(programs)}" in output
    assert "Skipped" not in output
    prefix = tmp_path / "prefix"
    run("cmake", "--install", built, "--prefix", prefix)
    libraries = {path.name for path in (prefix / "lib").glob("*.so*")}
    version = run(sys.executable, "-m", "latentloop", "--version").split()[-1]
    names = {"liblatentloop.so", "liblatentloop.so.0", f"liblatentloop.so.{version}", "liblatentloop_operators.so"}
    assert libraries == names
    build_examples(prefix / "lib" / "cmake" / "latentloop", tmp_path / "build")
    check_examples(tmp_path / "build", tmp_path, prefix / "lib" / "liblatentloop_operators.so")


@pytest.mark.slow
def test_a_static_library_finds_operators_beside_the_program(built: Path, tmp_path: Path) -> None:
    prefix, lib = tmp_path / "prefix", tmp_path / "prefix" / "lib64"
    options = ["-DBUILD_SHARED_LIBS=OFF", "-DLATENTLOOP_OPERATORS=OFF", "-DCMAKE_INSTALL_LIBDIR=lib64"]
    faster = ["-DCMAKE_BUILD_TYPE=Debug", "-DBUILD_TESTING=OFF"]
    configured(tmp_path / "static", *options, *faster, f"-DCMAKE_INSTALL_PREFIX={prefix}")
    run("cmake", "--build", tmp_path / "static", "--parallel", "2", "--target", "install")
    build_examples(lib / "cmake" / "latentloop", tmp_path / "build")
    operators = Path(shutil.copy(built / "liblatentloop_operators.so", tmp_path / "build"))
    check_examples(tmp_path / "build", tmp_path, operators)
    flags = run("pkg-config", "--cflags", "--libs", "latentloop", PKG_CONFIG_PATH=str(lib / "pkgconfig"))
    run("cc", "-std=c99", ROOT / "examples" / "one_image.c", *flags.split(), "-o", tmp_path / "one_image")


@pytest.mark.slow
def test_cmake_compiles_as_setup_py_does(built: Path) -> None:
    commands = json.loads((built / "compile_commands.json").read_text(encoding="utf-8"))
    found: dict[str, set[frozenset[str]]] = {}
    for each in commands:
        file = Path(each["file"]).resolve().relative_to(ROOT)
        words = each["command"].replace("\\", "").split()[1:]
        flags = {
            word
            for word in words[: words.index("-o")]
            if not re.match("-D\\w+_EXPORTS|-DNDEBUG|-I|-isystem|-Wno-maybe-uninit", word)
        }
        found.setdefault(str(file), set()).add(frozenset(flags))
    found = {file: flags for file, flags in found.items() if not file.startswith("tests/")}

    common = set(build_setting("FLAGS"))
    x86 = platform.machine() == "x86_64"
    kernels = set()
    for name, size, flags in build_setting("PORTABLE") + build_setting("X86") * x86:
        defined = [f"-DLATENTLOOP_VECTOR_BYTES={size}", f"-DLATENTLOOP_KERNELS=kernels_{name}"]
        kernels.add(frozenset({*common, *flags, *defined, f'-DLATENTLOOP_NAME="{name.removesuffix("vbmi")}"'}))
    assert found.pop("kernels/instruction_set.cpp") == kernels
    dispatched = {frozenset({*common, *(["-DLATENTLOOP_X86"] if x86 else [])})}
    for source in ("operators/register.cpp", "nearest_codebook/cpu/library.cpp", "nearest_codebook/cuda/plan.cpp"):
        assert found.pop(f"kernels/{source}") == dispatched
    version = run(sys.executable, "-m", "latentloop", "--version").split()[-1]
    library = {frozenset({*common, "-DLATENTLOOP_BUILDING", f'-DLATENTLOOP_VERSION="{version}"'})}
    sources = [path.relative_to(ROOT) for path in (ROOT / "runtime" / "cpp").glob("*/*.cpp")]
    for_gpus = build_setting("C_FOR_GPUS")
    assert found == {str(path): library for path in sources if path.parent.name not in for_gpus}
