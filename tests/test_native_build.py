"""setup.py's build of the native libraries: it compiles in parallel, and only what changed."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from build_setting import build_setting
from nearest_grid import compiler

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler")

LIBRARY = "out/latentloop/kernels/liblatentloop_operators.so"
CUDA = ["liblatentloop_cuda.so", "nearest_codebook.fatbin"]
SOURCES = {
    "operators/register.cpp": '#include "../shared.h"\nEXPORTED int registered() { return shared(); }\n',
    "nearest_codebook/cpu/library.cpp": "int nearest() { return 2; }\n",
    "nearest_codebook/cuda/plan.cpp": "int plan() { return 3; }\n",
    "instruction_set.cpp": '#include "shared.h"\nnamespace LATENTLOOP_KERNELS { int kernel() { return shared(); } }\n',
    "shared.h": '#define EXPORTED __attribute__((visibility("default")))\ninline int shared() { return 1; }\n',
    "CMakeLists.txt": "flags\n",
}
C_LIBRARY = "out/latentloop/cpp/lib"
C_SOURCES = {
    "api/library.cpp": """
#include <latentloop/latentloop.h>
#include <openssl/sha.h>
extern "C" const char* ll_version() {
  unsigned char digest[32];
  SHA256(digest, 0, digest);
  return digest[0] == 0xe3 ? LATENTLOOP_VERSION : hidden();
}
""",
    "bundles/library.cpp": 'const char* hidden() { return ""; }\n',
    "include/latentloop/latentloop.h": 'extern "C" __attribute__((visibility("default"))) const char* ll_version();\n'
    "const char* hidden();\n",
}
# Logs what it compiles, and can wait before it does so. The C library's libraries are missing unless $LOG/libraries
# exists.
COMPILER = """#!/bin/sh
case "$*" in
  --version) cat "$LOG/version"; exit;;
  *-l:libcrypto.a*) test -e "$LOG/libraries" || exit 1;;
  *" -c - "*) echo "$*" >>"$LOG/compiled"; while test -e "$LOG/wait"; do sleep 0.05; done;;
esac
exec {compiler} "$@"
"""
NVCC = """#!/bin/sh
cat "$LOG/version"
"""
# A build makes the file of its target from all sources that setup.py says it is made from.
CMAKE = """#!/bin/sh
case "$*" in
  --version) echo "cmake version 3.25";;
  -S*) mkdir -p "$4" && echo configured >>"$LOG/configured";;
  *latentloop_cuda*) echo library >>"$LOG/built"; cat kernels/nearest_codebook/cuda/* >"$2/liblatentloop_cuda.so";;
  *) echo module >>"$LOG/built"; test -e "$LOG/no_module" || echo module >"$2/nearest_codebook.fatbin";;
esac
"""


class Tree:
    """A folder with setup.py and small sources, and the programs that it calls, which log what they are called for."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log, self.programs = folder / "tree", folder / "log", folder / "programs"
        for path in (self.folder, self.log, self.programs):
            path.mkdir()
        shutil.copy(ROOT / "setup.py", self.folder)
        for name, text in SOURCES.items():
            self.write(name, text)
        (self.log / "version").write_text("1.0\n")
        for name, text in {"compiler": COMPILER, "nvcc": NVCC, "cmake": CMAKE}.items():
            program = self.programs / name
            program.write_text(text.replace("{compiler}", str(compiler())))
            program.chmod(0o755)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("CUDA", "LATENTLOOP_"))},
            "PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}",
            "CXX": str(self.programs / "compiler"),
            "LOG": str(self.log),
            "LATENTLOOP_CUDA": "0",
        }

    def write(self, name: str, text: str) -> None:
        """Writes a source with a time in the past, as unpacking an archive can."""
        path = self.folder / "kernels" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (1e9, 1e9))

    def start(self, *options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "setup.py", "build_ext", "--build-lib", "out", *options]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def build(self, *options: str) -> str:
        process = self.start(*options)
        output = process.communicate(timeout=120)[0]
        assert process.returncode == 0, output
        return output

    def entries(self, log: str) -> list[str]:
        """Returns the lines of a log, and empties it."""
        path = self.log / log
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    def compiled(self) -> int:
        """Returns how many sources were compiled since the last call."""
        return len(self.entries("compiled"))

    def wait_for_compilers(self, count: int) -> None:
        path, deadline = self.log / "compiled", time.monotonic() + 60
        while not path.exists() or len(path.read_text().splitlines()) < count:
            assert time.monotonic() < deadline, f"{count} compilers do not run at the same time"
            time.sleep(0.02)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_only_what_changed_is_compiled(tree: Tree) -> None:
    tree.build()
    every = tree.compiled()
    assert every in (4, 7)  # with one instruction set, or with four on x86
    first = (tree.folder / LIBRARY).read_bytes()
    tree.build()
    assert tree.compiled() == 0
    assert (tree.folder / LIBRARY).read_bytes() == first

    tree.write("shared.h", SOURCES["shared.h"].replace("1", "10"))
    tree.build()
    assert tree.compiled() == every - 2, "a header recompiles the sources that include it"
    assert (tree.folder / LIBRARY).read_bytes() != first
    tree.write("shared.h", SOURCES["shared.h"])
    tree.build()
    assert tree.compiled() == 0, "the objects of the earlier header are still there"
    assert (tree.folder / LIBRARY).read_bytes() == first

    tree.write("nearest_codebook/cpu/library.cpp", "int nearest() { return 20; }\n")
    tree.build()
    assert tree.compiled() == 1


def test_other_flags_and_other_compilers_compile_again(tree: Tree) -> None:
    tree.build()
    every = tree.compiled()
    setup = tree.folder / "setup.py"
    setup.write_text(setup.read_text(encoding="utf-8").replace('"-O3"', '"-O1"'), encoding="utf-8")
    tree.build()
    assert tree.compiled() == every
    (tree.log / "version").write_text("1.1\n")
    tree.build()
    assert tree.compiled() == every
    tree.environment["CXX"] += " -DOTHER"
    tree.build()
    assert tree.compiled() == every


def test_sources_compile_at_the_same_time(tree: Tree) -> None:
    (tree.log / "wait").touch()
    process = tree.start("--parallel", "3")
    tree.wait_for_compilers(3)
    (tree.log / "wait").unlink()
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    assert (tree.folder / LIBRARY).is_file()


def test_a_failure_leaves_nothing_and_the_next_build_finishes(tree: Tree) -> None:
    tree.build()
    every = tree.compiled()
    tree.write("shared.h", SOURCES["shared.h"].replace("1", "an error"))
    assert "warning: liblatentloop_operators.so was not built" in tree.build()
    assert not (tree.folder / LIBRARY).exists()
    tree.compiled()
    tree.write("shared.h", SOURCES["shared.h"].replace("1", "10"))
    tree.build()
    assert tree.compiled() == every - 2
    assert (tree.folder / LIBRARY).is_file()


def test_ctrl_c_stops_the_build_and_leaves_nothing_half_written(tree: Tree) -> None:
    (tree.log / "wait").touch()
    process = tree.start("--parallel", "2")
    tree.wait_for_compilers(2)
    os.killpg(process.pid, signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    assert process.returncode != 0, output
    assert tree.compiled() == 2, "compilers were started after Ctrl-C"
    assert list((tree.folder / "build" / "objects").iterdir()) == []
    assert not (tree.folder / LIBRARY).exists()
    (tree.log / "wait").unlink()
    tree.build()
    assert (tree.folder / LIBRARY).is_file()


def test_the_files_for_gpus_are_built_when_their_sources_or_tools_change(tree: Tree) -> None:
    del tree.environment["LATENTLOOP_CUDA"]
    built = tree.folder / "out" / "latentloop" / "kernels"
    paths = [built / CUDA[0], built / "nearest_codebook" / CUDA[1]]

    def builds() -> list[str]:
        for path in paths:
            path.unlink(missing_ok=True)
        tree.build()
        assert all(path.is_file() for path in paths)
        return tree.entries("built")

    both = ["library", "module"]
    assert builds() == both
    assert tree.entries("configured") == ["configured"], "once for both"
    assert builds() == []
    tree.write("shared.h", SOURCES["shared.h"].replace("1", "10"))
    assert builds() == [], "no file for GPUs is made from this header"
    tree.write("nearest_codebook/cuda/plan.cpp", "int plan() { return 30; }\n")
    assert builds() == both
    assert "return 30" in paths[0].read_text()
    tree.write("CMakeLists.txt", "other flags\n")
    assert builds() == both
    (tree.log / "version").write_text("1.1\n")
    assert builds() == both
    tree.environment["NVCC_APPEND_FLAGS"] = "-G"
    assert builds() == both


def test_one_file_for_gpus_can_be_missing(tree: Tree) -> None:
    del tree.environment["LATENTLOOP_CUDA"]
    (tree.log / "no_module").touch()
    assert f"warning: {CUDA[1]} was not built" in tree.build()
    built = tree.folder / "out" / "latentloop" / "kernels"
    assert (built / CUDA[0]).is_file()
    assert not (built / "nearest_codebook" / CUDA[1]).exists()


def test_unused_objects_are_removed_after_a_week(tree: Tree) -> None:
    tree.build()
    objects = sorted((tree.folder / "build" / "objects").iterdir())
    tree.write("shared.h", SOURCES["shared.h"].replace("1", "10"))
    for path in objects:
        os.utime(path, (1e9, 1e9))
    tree.build()
    kept = sorted((tree.folder / "build" / "objects").iterdir())
    assert len(kept) == len(objects)
    assert len(set(kept) & set(objects)) == 2, "those of the two sources that do not include the header"


# ---- The C library


@pytest.fixture
def c_tree(tree: Tree) -> Tree:
    """A tree with sources of the C library."""
    source = ROOT / "runtime" / "cpp"
    include = "#include <nlohmann/json_fwd.hpp>\n#include <openssl/sha.h>\n"
    check = [str(compiler()), "-shared", "-fPIC", "-x", "c++", "-", "-o", os.devnull, "-l:libcrypto.a"]
    if subprocess.run(check, input=include.encode(), stderr=subprocess.DEVNULL).returncode:
        pytest.skip("nlohmann-json3-dev or libssl-dev is not installed")
    (tree.log / "libraries").touch()
    shutil.copytree(source / "cmake", tree.folder / "runtime" / "cpp" / "cmake")
    shutil.copy(source / "exports.map", tree.folder / "runtime" / "cpp")
    for name, text in C_SOURCES.items():
        tree.write(f"../runtime/cpp/{name}", text)
    return tree


def test_the_c_library_is_built_with_its_packages(c_tree: Tree) -> None:
    c_tree.build()
    every = c_tree.compiled()
    assert every in (6, 9)
    built = c_tree.folder / C_LIBRARY
    library = ctypes.CDLL(str(built / "liblatentloop.so"))
    library.ll_version.restype = ctypes.c_char_p
    assert library.ll_version() == b"0.0.0"
    assert not hasattr(library, "_Z6hiddenv")
    assert not hasattr(library, "SHA256_Update")
    files = {str(file.relative_to(built)) for file in built.rglob("*") if file.is_file()}
    assert files == {"liblatentloop.so", *build_setting("C_PACKAGE")}
    for name in build_setting("C_PACKAGE"):
        assert "@" not in (built / name).read_text(encoding="utf-8"), "a value of the template is missing"
    c_tree.build()
    assert c_tree.compiled() == 0
    c_tree.write("../runtime/cpp/bundles/library.cpp", 'const char* hidden() { return "other"; }\n')
    c_tree.build()
    assert c_tree.compiled() == 1


def test_the_c_library_is_left_out_without_its_libraries(c_tree: Tree) -> None:
    c_tree.build()
    (c_tree.log / "libraries").unlink()
    output = c_tree.build()
    assert re.search("^warning: liblatentloop.so was not built: it needs nlohmann-json", output, re.MULTILINE)
    assert not [path for path in (c_tree.folder / C_LIBRARY).rglob("*") if path.is_file()]
    assert (c_tree.folder / LIBRARY).is_file()


def test_a_fault_of_the_c_library_leaves_the_operators(c_tree: Tree) -> None:
    c_tree.write("../runtime/cpp/bundles/library.cpp", "const char* other() { return nullptr; }\n")
    assert "warning: liblatentloop.so was not built" in c_tree.build(), "hidden() is not defined"
    assert not (c_tree.folder / C_LIBRARY / "liblatentloop.so").exists()
    assert (c_tree.folder / LIBRARY).is_file()
