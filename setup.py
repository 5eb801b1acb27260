"""Builds the native libraries. The declarative settings are in pyproject.toml.

The CPU operators and the C library need a C++ compiler, and the C library also nlohmann-json and OpenSSL. The libraries
for NVIDIA GPUs need nvcc and CMake; LATENTLOOP_CUDA=0 skips them. Without these the installation succeeds, without the
libraries.

Everything compiles in parallel (`build_ext -j N`: at most N sources for the CPU). build/objects keeps what was
compiled, under a digest of what it was made from, for the next build, also if that is an editable one.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

SOURCES = Path("kernels")
LIBRARY = "latentloop.kernels.liblatentloop_operators"
C_SOURCES = Path("runtime/cpp")
C_FOR_GPUS = ("cuda", "engines", "gpu", "tensorrt")  # what needs NVIDIA's headers, and what serves only that
C_LIBRARY = "latentloop.cpp.lib.liblatentloop"
# Its CMake package and its pkg-config file, beside it, made from templates in C_SOURCES/cmake.
C_PACKAGE = [
    "cmake/latentloop/latentloop-config.cmake",
    "cmake/latentloop/latentloop-config-version.cmake",
    "pkgconfig/latentloop.pc",
]
C_PACKAGE_VALUES = {
    "PREFIX_FROM_LIB": "..",
    "LIBDIR": "lib",
    "INCLUDEDIR": "include",
    "LIBRARY": "lib/liblatentloop.so",
    "LIBRARY_TYPE": "SHARED",
    "LINK_LANGUAGES": "",
    "OPERATORS": "../kernels/liblatentloop_operators.so",
    "PC_REQUIRES": "",
    "PC_LIBS": "",
}
# What it uses of other projects is inside it: a header-only library, and a static one.
C_INCLUDES = "#include <nlohmann/json_fwd.hpp>\n#include <openssl/sha.h>\n"
C_STATIC = ["-l:libcrypto.a", "-ldl"]
# Built by the targets of kernels/CMakeLists.txt with these names, without "lib".
CUDA = ["latentloop.kernels.liblatentloop_cuda", "latentloop.kernels.nearest_codebook.nearest_codebook"]
# What they are compiled from, and the environment variables that CMake, nvcc and the C++ compiler read.
CUDA_SOURCES = [
    "CMakeLists.txt",
    "kernels.h",
    "nearest_codebook/*.h",
    "nearest_codebook/cuda/*",
    "operators/cuda/*",
    "operators/onnxruntime/*",
]
CUDA_VARIABLES = ("CMAKE_", "CUDA", "NVCC_", "CXX", "LDFLAGS", "CPATH", "CPLUS_INCLUDE_PATH", "LIBRARY_PATH")
FLAGS = ["-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra"]
# Links the C++ library statically, because the user's may be older than the compiler's. Drops its unused parts, and
# links libgcc dynamically: both could require a newer glibc than our code does.
SELF_CONTAINED = ["-static-libstdc++", "-Wl,--exclude-libs,ALL", "-Wl,--gc-sections"]
# Libraries that every Linux system has.
EVERYWHERE = re.compile(r"(libc|libm|libpthread|libdl|librt|ld-linux[\w-]*|libgcc_s)\.so\.\d")
# The kernels are compiled per instruction set: (name, bytes of a SIMD vector, flags). The library selects one at run
# time.
PORTABLE = [("portable", 16, [])]
X86 = [
    ("avx2", 32, ["-mavx2", "-mfma"]),
    ("avx512", 64, ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mfma"]),
    ("avx512vbmi", 64, ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512vbmi", "-mfma"]),
]


def find_compiler() -> list[str]:
    """Returns the C++ compiler as a command: CXX, or the first common compiler that is installed."""
    requested = shlex.split(os.environ.get("CXX", ""))
    python_compiler = shlex.split(sysconfig.get_config_var("CXX") or "")[:1]
    candidates = [*python_compiler, "c++", "g++", "clang++"]
    return requested or [next((name for name in candidates if shutil.which(name)), "c++")]


def find_nvcc() -> str | None:
    """Returns the path of nvcc: CUDACXX, or one in a common place. None without nvcc or CMake, or if disabled."""
    if os.environ.get("LATENTLOOP_CUDA") == "0" or shutil.which("cmake") is None:
        return None
    folders = [os.environ.get("CUDA_HOME", ""), os.environ.get("CUDA_PATH", ""), "/usr/local/cuda"]
    names = [os.environ.get("CUDACXX", ""), "nvcc", *(f"{folder}/bin/nvcc" for folder in folders)]
    return next((path for name in names if (path := shutil.which(name))), None)


def version(command: list[str]) -> tuple[str | None, bytes]:
    """Returns which program a command is: its path, None if it is missing, and its version."""
    path = shutil.which(command[0])
    return path, subprocess.run([*command, "--version"], capture_output=True).stdout if path else b""


@contextmanager
def threads(count: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """Yields a `map` that runs its jobs in threads. After Ctrl-C or a failed job, it starts none of those that wait."""
    stopped = threading.Event()

    def run(function: Callable[..., object], job: object) -> object:
        if stopped.is_set():
            raise CancelledError
        try:
            return function(job)
        except BaseException:
            stopped.set()  # here, before this thread takes its next job
            raise

    with ThreadPoolExecutor(count) as pool:
        try:
            yield lambda function, jobs: pool.map(partial(run, function), jobs)
        finally:
            stopped.set()


class BuildLibraries(build_ext):
    """Builds plain shared libraries, without the headers of Python or ONNX Runtime."""

    def get_ext_filename(self, fullname: str) -> str:
        """Returns a file name without Python's version tag, because the files do not depend on it."""
        suffix = ".so" if fullname.rpartition(".")[2].startswith("lib") else ".fatbin"
        return fullname.replace(".", "/") + suffix

    def get_output_mapping(self) -> dict[str, str]:
        """Returns only the files that were built, because an editable install requires all of them."""
        return {built: source for built, source in super().get_output_mapping().items() if Path(built).is_file()}

    def get_outputs(self) -> list[str]:
        """Returns the files that were built, with those of the C library's package."""
        package = Path(self.build_lib, *C_LIBRARY.split(".")[:-1])
        return [*super().get_outputs(), *(str(package / file) for file in C_PACKAGE if (package / file).is_file())]

    def copy_extensions_to_source(self) -> None:
        """Copies what was built, for an editable install, into the folders of the sources."""
        (C_SOURCES / "lib").mkdir(parents=True, exist_ok=True)
        super().copy_extensions_to_source()

    def build_extensions(self) -> None:
        """Builds the libraries for the CPU and, meanwhile, those for GPUs: these one after the other, in one folder."""
        shutil.rmtree(self.cmake_folder(), ignore_errors=True)
        for_cpu = [ext for ext in self.extensions if ext.name in (LIBRARY, C_LIBRARY)]
        with threads(1) as map_in_order:
            others = map_in_order(self.build_extension, [ext for ext in self.extensions if ext not in for_cpu])
            for ext in for_cpu:
                self.build_extension(ext)
            list(others)  # waits, and raises what was raised
        self.remove_unused()

    def build_extension(self, ext: Extension) -> None:
        """Builds one file. Prints a warning if that fails."""
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # so that a failed build does not leave an older file
        try:
            if ext.name == LIBRARY:
                self.build_operators(target)
            elif ext.name == C_LIBRARY:
                self.build_c_library(target)
            elif nvcc := find_nvcc():
                self.build_cuda(target, nvcc)
        except (OSError, subprocess.CalledProcessError) as error:
            target.unlink(missing_ok=True)
            # Sampling works without it, but slower; `latentloop info` lists the missing libraries.
            print(f"warning: {target.name} was not built: {error}", file=sys.stderr)

    def build_cuda(self, target: Path, nvcc: str) -> None:
        """Builds one file with CMake."""

        def made_from() -> tuple[object, ...]:
            names = [nvcc, "cmake", "c++", "g++", "gcc", os.environ.get("CUDAHOSTCXX", "c++")]
            tools = [version(command) for command in [*([name] for name in names), find_compiler()]]
            variables = sorted(item for item in os.environ.items() if item[0].startswith(CUDA_VARIABLES))
            files = sorted(file for pattern in CUDA_SOURCES for file in SOURCES.glob(pattern) if file.is_file())
            return tools, variables, [(str(file), file.read_bytes()) for file in files]

        def make(out: Path) -> None:
            folder, name = self.cmake_folder(), target.stem.removeprefix("lib")
            if not folder.exists():  # once for all files
                configure = ["cmake", "-S", str(SOURCES), "-B", str(folder), f"-DCMAKE_CUDA_COMPILER={nvcc}"]
                subprocess.run(configure, check=True, stdout=subprocess.DEVNULL)
            subprocess.run(["cmake", "--build", folder, "--target", name, "--parallel"], check=True)
            if made_from() != started_from:
                raise OSError("its sources changed while they were compiled; build again")
            shutil.copy(folder / target.name, out)

        started_from = made_from()
        shutil.copy(self.made(target.name, started_from, make), target)

    def build_operators(self, target: Path) -> None:
        """Compiles the operators, and the kernels for every instruction set, and links them."""
        x86 = platform.machine() in ("x86_64", "AMD64")
        dispatched = ["-DLATENTLOOP_X86"] if x86 else []
        jobs = [(SOURCES / "operators/register.cpp", "operators", dispatched)]  # it takes longest, and starts first
        for name, size, flags in reversed(PORTABLE + X86 * x86):
            defined = [f"-DLATENTLOOP_VECTOR_BYTES={size}", f"-DLATENTLOOP_KERNELS=kernels_{name}"]
            # With or without VBMI the results are the same, so it has no name of its own.
            defined.append(f'-DLATENTLOOP_NAME="{name.removesuffix("vbmi")}"')
            jobs.append((SOURCES / "instruction_set.cpp", name, [*flags, *defined]))
        jobs.append((SOURCES / "nearest_codebook/cuda/plan.cpp", "plan", dispatched))
        jobs.append((SOURCES / "nearest_codebook/cpu/library.cpp", "nearest_codebook", dispatched))
        self.link(target, self.compiled(jobs), ["-pthread"])

    def build_c_library(self, target: Path) -> None:
        """Compiles and links the C library, and writes its package for CMake and pkg-config."""
        for file in C_PACKAGE:
            (target.parent / file).unlink(missing_ok=True)
        test = [*find_compiler(), "-shared", "-fPIC", "-x", "c++", "-", "-o", os.devnull, *C_STATIC]
        if subprocess.run(test, input=C_INCLUDES.encode(), stderr=subprocess.DEVNULL).returncode:
            raise OSError("it needs nlohmann-json and OpenSSL's libcrypto.a (nlohmann-json3-dev libssl-dev)")
        release = self.distribution.get_version()
        flags = [f"-I{C_SOURCES / 'include'}", f"-I{C_SOURCES}", "-DLATENTLOOP_BUILDING"]
        flags.append(f'-DLATENTLOOP_VERSION="{release}"')
        sources = sorted(file for file in C_SOURCES.glob("*/*.cpp") if file.parent.name not in C_FOR_GPUS)
        objects = self.compiled([(source, f"{source.parent.name}-{source.stem}", flags) for source in sources])
        # It looks for ONNX Runtime in its own folder, too.
        exports = ["-Wl,--no-undefined", f"-Wl,--version-script={C_SOURCES / 'exports.map'}", "-Wl,-rpath,$ORIGIN"]
        self.link(target, objects, [*C_STATIC, "-pthread", f"-Wl,-soname,{target.name}", *exports])
        values = {**C_PACKAGE_VALUES, "VERSION": release}
        for file in C_PACKAGE:
            template = (C_SOURCES / "cmake" / f"{Path(file).name}.in").read_text(encoding="utf-8")
            (target.parent / file).parent.mkdir(parents=True, exist_ok=True)
            filled = re.sub(r"@(\w+)@", lambda name: values[name[1]], template)
            (target.parent / file).write_text(filled, encoding="utf-8")

    def compiled(self, jobs: list[tuple[Path, str, list[str]]]) -> list[Path]:
        """Compiles sources in parallel: (source, name, flags). Returns the objects."""
        compiler = find_compiler()
        compiler_version = version(compiler)

        def compiled_one(job: tuple[Path, str, list[str]]) -> Path:
            source, name, flags = job
            command = [*compiler, *FLAGS, *flags]
            # What is compiled is the same preprocessed text that the digest is made from: it holds every header.
            text = subprocess.run([*command, "-E", source], check=True, stdout=subprocess.PIPE).stdout
            compile_text = [*command, "-x", "c++-cpp-output", "-c", "-", "-o"]
            return self.made(
                f"{name}.o",
                (compiler_version, command, text),
                lambda out: subprocess.run([*compile_text, out], check=True, input=text),
            )

        with threads(self.parallel or os.cpu_count() or 1) as map_in_parallel:
            return list(map_in_parallel(compiled_one, jobs))

    def link(self, target: Path, objects: list[Path], options: list[str]) -> None:
        """Links a shared library, if possible one that does not need the C++ library."""
        command = [*find_compiler(), "-shared", *objects, "-o", target, *options]
        if subprocess.run([*command, *SELF_CONTAINED], stderr=subprocess.DEVNULL).returncode:
            subprocess.run(command, check=True)  # the linker lacks these options, or there are no static libraries

    def made(self, name: str, made_from: tuple[object, ...], make: Callable[[Path], object]) -> Path:
        """Returns the file that `make` writes to a path: that of an earlier build, if it was made from the same."""
        digest = hashlib.sha256(repr((platform.machine(), made_from)).encode()).hexdigest()[:32]
        file = self.objects_folder() / f"{digest}-{name}"
        try:
            os.utime(file)  # still in use
        except FileNotFoundError:
            file.parent.mkdir(parents=True, exist_ok=True)
            # Containers that share the folder can have equal process numbers.
            handle, name_in_use = tempfile.mkstemp(prefix=f"{file.name}.", dir=file.parent)
            os.close(handle)
            unfinished = Path(name_in_use)
            unfinished.unlink()  # the compiler creates it with the default permissions
            try:
                make(unfinished)
                unfinished.replace(file)
            finally:
                unfinished.unlink(missing_ok=True)
        return file

    def objects_folder(self) -> Path:
        """Returns the folder of compiled files. It is not in build_temp, which an editable install deletes."""
        return Path(self.get_finalized_command("build").build_base) / "objects"

    def cmake_folder(self) -> Path:
        """Returns the folder in which CMake builds. It is new in every build, because CMake compares only times."""
        return Path(self.build_temp) / "cuda"

    def remove_unused(self) -> None:
        """Removes compiled files that no build has used for a week."""
        for file in self.objects_folder().glob("*"):
            with suppress(OSError):  # another build may remove it, too
                if file.stat().st_mtime < time.time() - 7 * 24 * 3600:
                    file.unlink()


def oldest_glibc(libraries: list[str]) -> str | None:
    """Returns the minimum glibc version of the libraries, such as "2_34".

    None if they need libraries beyond glibc and libgcc, or if objdump (binutils) is not installed.
    """
    try:
        command = ["objdump", "--private-headers", *libraries]
        headers = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    needed = re.findall(r"NEEDED\s+(\S+)", headers)
    versions = re.findall(r"\s((?:GLIBC|GCC)_\S+)", headers)
    minors = [re.fullmatch(r"GLIBC_2\.(\d+)\S*|GCC_[34]\.\S+", version) for version in versions]
    if not needed or not all(map(EVERYWHERE.fullmatch, needed)) or None in minors:
        return None
    return f"2_{max([17, *(int(match[1] or 0) for match in minors if match)])}"


class PlatformWheel(bdist_wheel):
    """A wheel whose libraries depend on the platform, but not on the version of Python."""

    def get_tag(self) -> tuple[str, str, str]:
        """Returns py3-none-PLATFORM, where PLATFORM is manylinux if the libraries need only glibc and libgcc."""
        name, build = super().get_tag()[2], self.get_finalized_command("build_ext")
        libraries = [file for file in build.get_outputs() if file.endswith(".so") and Path(file).is_file()]
        if name.startswith("linux_") and not build.editable_mode and (glibc := oldest_glibc(libraries)):
            name = name.replace("linux", f"manylinux_{glibc}", 1)
        return "py3", "none", name


setup(
    ext_modules=[Extension(name, [], optional=True) for name in [LIBRARY, C_LIBRARY, *CUDA]],
    cmdclass={"build_ext": BuildLibraries, "bdist_wheel": PlatformWheel},
    # A strict editable install is a tree of links, which type checkers and editors can follow.
    options={"editable_wheel": {"mode": "strict"}},
)
