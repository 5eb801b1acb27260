"""Builds the C++ host, and the library that measures how long graphs run, with the installed C library."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from latentloop.environment import c_library
from latentloop.errors import LatentLoopError, MissingError

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Programs:
    """The C++ host, the library in the place of ONNX Runtime's, and ONNX Runtime's library itself."""

    host: Path
    timed_onnxruntime: Path
    onnxruntime: Path


def build_programs(folder: Path) -> Programs:
    """Compiles into ``folder``.

    Raises MissingError with a remedy without the C library, ONNX Runtime or a compiler, LatentLoopError with the
    compiler's message if it fails.
    """
    library, onnxruntime = c_library.library(), c_library.onnxruntime_library()
    include = library.parents[1] / "include"
    if not (include / "latentloop" / "latentloop.h").is_file():
        raise MissingError(f"{include} has no latentloop/latentloop.h: reinstall latentloop")
    programs = Programs(folder / "host", folder / "libonnxruntime.so", onnxruntime)
    linked = [f"-I{include}", str(library), f"-Wl,-rpath,{library.parent}", "-ldl"]
    _compile(HERE / "host.cpp", programs.host, linked)
    _compile(HERE / "timed_onnxruntime.cpp", programs.timed_onnxruntime, ["-shared", "-fPIC", "-ldl"])
    return programs


def _compile(source: Path, target: Path, options: list[str]) -> None:
    command = [*compiler(), "-std=c++17", "-O2", str(source), "-o", str(target), *options]
    try:
        process = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise MissingError(
            f"the C++ compiler {command[0]} cannot be started: {error}: set CXX to another one"
        ) from error
    if process.returncode:
        lines = process.stderr.strip().splitlines()
        message = next((line for line in lines if "error" in line), f"exit status {process.returncode}")
        raise LatentLoopError(f"{command[0]} cannot compile {source}: {message}: set CXX to a compiler of C++17")


def compiler() -> list[str]:
    """Returns the C++ compiler as a command: CXX, or the first common one. Raises MissingError."""
    requested = shlex.split(os.environ.get("CXX", ""))
    found = next((name for name in ("c++", "g++", "clang++") if shutil.which(name)), None)
    if not requested and found is None:
        raise MissingError("the C++ host needs a C++ compiler: install one (Debian: apt install g++), or set CXX")
    return requested or [str(found)]
