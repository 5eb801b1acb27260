"""Builds the native libraries: the operators where there is a C++ compiler, those for NVIDIA GPUs where there are nvcc
and CMake (unless the variable LATENTLOOP_CUDA is 0). Everything declarative is in pyproject.toml.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

SOURCES = Path("kernels")
LIBRARY = "latentloop.kernels.liblatentloop_operators"
# Built by the targets of kernels/CMakeLists.txt of those names, without "lib".
CUDA = ["latentloop.kernels.liblatentloop_cuda", "latentloop.kernels.nearest_codebook.nearest_codebook"]
FLAGS = ["-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra"]
# The C++ library lies inside ours, for another environment's may be older than the compiler's; of its parts that nobody
# uses, and of a static libgcc, some would need a newer glibc than our code does.
SELF_CONTAINED = ["-static-libstdc++", "-Wl,--exclude-libs,ALL", "-Wl,--gc-sections"]
EVERYWHERE = re.compile(r"(libc|libm|libpthread|libdl|librt|ld-linux[\w-]*|libgcc_s)\.so\.\d")
# The same kernels per instruction set: (name, bytes of a vector, compiler flags). The library picks one at run time.
PORTABLE = [("portable", 16, [])]
X86 = [
    ("avx2", 32, ["-mavx2", "-mfma"]),
    ("avx512", 64, ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mfma"]),
]


def find_compiler() -> list[str]:
    """The C++ compiler as a command: what CXX says, or the first of the usual ones that is there."""
    asked = shlex.split(os.environ.get("CXX", ""))
    built_with = shlex.split(sysconfig.get_config_var("CXX") or "")[:1]
    usual = [*built_with, "c++", "g++", "clang++"]
    return asked or [next((name for name in usual if shutil.which(name)), "c++")]


def find_nvcc() -> str | None:
    """CUDA's compiler, where CMake is there too: what CUDACXX says, or one in the usual places."""
    if os.environ.get("LATENTLOOP_CUDA") == "0" or shutil.which("cmake") is None:
        return None
    usual = [os.environ.get("CUDA_HOME", ""), os.environ.get("CUDA_PATH", ""), "/usr/local/cuda"]
    names = [os.environ.get("CUDACXX", ""), "nvcc", *(f"{folder}/bin/nvcc" for folder in usual)]
    return next((found for name in names if (found := shutil.which(name))), None)


class BuildLibraries(build_ext):
    """Builds plain libraries, which need neither Python's nor ONNX Runtime's headers."""

    def get_ext_filename(self, fullname: str) -> str:
        """Plain: the files depend on no version of Python."""
        suffix = ".so" if fullname.rpartition(".")[2].startswith("lib") else ".fatbin"
        return fullname.replace(".", "/") + suffix

    def get_output_mapping(self) -> dict[str, str]:
        """What was built: an editable install must not look for the rest."""
        return {built: kept for built, kept in super().get_output_mapping().items() if Path(built).is_file()}

    def build_extension(self, ext: Extension) -> None:
        """Builds one file; warns where that fails."""
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # an older build must not pass for this one
        try:
            if ext.name == LIBRARY:
                self.build_operators(target)
            elif nvcc := find_nvcc():
                self.build_cuda(target, nvcc)
        except (OSError, subprocess.CalledProcessError) as error:
            target.unlink(missing_ok=True)
            # Sampling works without it, more slowly; `latentloop info` says which.
            print(f"warning: {target.name} was not built: {error}", file=sys.stderr)

    def build_cuda(self, target: Path, nvcc: str) -> None:
        """Builds one file by CMake."""
        folder, name = str(Path(self.build_temp) / "cuda"), target.stem.removeprefix("lib")
        configure = ["cmake", "-S", str(SOURCES), "-B", folder, f"-DCMAKE_CUDA_COMPILER={nvcc}"]
        subprocess.run(configure, check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["cmake", "--build", folder, "--target", name, "--parallel"], check=True)
        shutil.copy(Path(folder) / target.name, target)

    def build_operators(self, target: Path) -> None:
        """Compiles every instruction set's kernels, and links them."""
        objects = Path(self.build_temp)
        compiler = find_compiler()
        x86 = platform.machine() in ("x86_64", "AMD64")
        dispatched = ["-DLATENTLOOP_X86"] if x86 else []
        jobs = [("operators/register.cpp", "operators", dispatched)]
        jobs.append(("nearest_codebook/cpu/library.cpp", "nearest_codebook", dispatched))
        jobs.append(("nearest_codebook/cuda/plan.cpp", "plan", []))
        for name, size, flags in PORTABLE + X86 * x86:
            defined = [f"-DLATENTLOOP_VECTOR_BYTES={size}", f"-DLATENTLOOP_KERNELS=kernels_{name}"]
            jobs.append(("instruction_set.cpp", name, [*flags, *defined, f'-DLATENTLOOP_NAME="{name}"']))
        objects.mkdir(parents=True, exist_ok=True)
        for source, name, flags in jobs:
            command = [*compiler, *FLAGS, *flags, "-c", str(SOURCES / source), "-o", str(objects / f"{name}.o")]
            subprocess.run(command, check=True)
        linked = [str(objects / f"{name}.o") for _, name, _ in jobs]
        link = [*compiler, "-shared", *linked, "-o", str(target), "-pthread"]
        if subprocess.run([*link, *SELF_CONTAINED], stderr=subprocess.DEVNULL).returncode:
            subprocess.run(link, check=True)  # another linker, or no static libraries here


def oldest_glibc(libraries: list[str]) -> str | None:
    """The version of glibc that the libraries need, such as "2_34"; None where they need more than glibc and libgcc, or
    there are no binutils to tell.
    """
    try:
        command = ["objdump", "--private-headers", *libraries]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    needed = re.findall(r"NEEDED\s+(\S+)", told)
    versions = re.findall(r"\s((?:GLIBC|GCC)_\S+)", told)
    minors = [re.fullmatch(r"GLIBC_2\.(\d+)\S*|GCC_[34]\.\S+", version) for version in versions]
    if not needed or not all(map(EVERYWHERE.fullmatch, needed)) or None in minors:
        return None
    return f"2_{max([17, *(int(match[1] or 0) for match in minors if match)])}"


class PlatformWheel(bdist_wheel):
    """The libraries depend on the platform, but not on the version of Python."""

    def get_tag(self) -> tuple[str, str, str]:
        """Any Python 3 on this platform; where the libraries need no more, on every Linux with such a glibc."""
        name, build = super().get_tag()[2], self.get_finalized_command("build_ext")
        libraries = [file for file in build.get_outputs() if file.endswith(".so") and Path(file).is_file()]
        if name.startswith("linux_") and not build.editable_mode and (glibc := oldest_glibc(libraries)):
            name = name.replace("linux", f"manylinux_{glibc}", 1)
        return "py3", "none", name


setup(
    ext_modules=[Extension(name, [], optional=True) for name in [LIBRARY, *CUDA]],
    cmdclass={"build_ext": BuildLibraries, "bdist_wheel": PlatformWheel},
    # A strict editable install is a link tree, which type checkers and editors can follow.
    options={"editable_wheel": {"mode": "strict"}},
)
