"""Builds the native operator library where there is a C++ compiler; everything declarative is in pyproject.toml."""

from __future__ import annotations

import os
import platform
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
FLAGS = ["-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra"]
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


class BuildOperators(build_ext):
    """Compiles one plain shared library, which needs neither Python's nor ONNX Runtime's headers."""

    def get_ext_filename(self, fullname: str) -> str:
        """Plain: the library depends on no version of Python."""
        return f"{fullname.replace('.', '/')}.so"

    def build_extension(self, ext: Extension) -> None:
        """Compiles every instruction set's kernels, and links them; warns where there is no compiler."""
        target = Path(self.get_ext_fullpath(ext.name))
        objects = Path(self.build_temp)
        compiler = find_compiler()
        x86 = platform.machine() in ("x86_64", "AMD64")
        jobs = [("operators/register.cpp", "operators", ["-DLATENTLOOP_X86"] if x86 else [])]
        for name, size, flags in PORTABLE + X86 * x86:
            defined = [f"-DLATENTLOOP_VECTOR_BYTES={size}", f"-DLATENTLOOP_KERNELS=kernels_{name}"]
            jobs.append(("instruction_set.cpp", name, [*flags, *defined, f'-DLATENTLOOP_NAME="{name}"']))
        objects.mkdir(parents=True, exist_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # an older build must not pass for this one
        try:
            for source, name, flags in jobs:
                command = [*compiler, *FLAGS, *flags, "-c", str(SOURCES / source), "-o", str(objects / f"{name}.o")]
                subprocess.run(command, check=True)
            linked = [str(objects / f"{name}.o") for _, name, _ in jobs]
            subprocess.run([*compiler, "-shared", *linked, "-o", str(target), "-pthread"], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            target.unlink(missing_ok=True)
            # Sampling works without it, more slowly; `latentloop info` says which.
            print(f"warning: the operator library was not built: {error}", file=sys.stderr)


class PlatformWheel(bdist_wheel):
    """The library depends on the platform, but not on the version of Python."""

    def get_tag(self) -> tuple[str, str, str]:
        """Any Python 3 on this platform."""
        return "py3", "none", super().get_tag()[2]


headers = [str(path) for path in sorted(SOURCES.rglob("*.h"))]
setup(
    ext_modules=[Extension(LIBRARY, [], depends=headers, optional=True)],
    cmdclass={"build_ext": BuildOperators, "bdist_wheel": PlatformWheel},
    # A strict editable install is a link tree, which type checkers and editors can follow.
    options={"editable_wheel": {"mode": "strict"}},
)
