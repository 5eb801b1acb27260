"""The CUDA launcher and its adapters, compiled for the CPU with a fake CUDA runtime (tests/native)."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nearest_grid import KERNELS, NATIVE, Values, compile_native
from numpy.typing import NDArray

HOST_INCLUDES = [f"-I{NATIVE / 'fake_cuda_runtime'}", f"-I{NATIVE}"]
TYPES = {"f32": 0, "f16": 1, "bf16": 2}


def compile_host(sources: Sequence[Path], out: Path, flags: Sequence[str] = (), kernels: Path = KERNELS) -> Path:
    """Compiles ``sources`` and the launcher with the fake CUDA runtime."""
    included = [*HOST_INCLUDES, "-Wall", "-Wextra", "-Werror"]
    return compile_native(
        [*sources, kernels / "nearest_codebook" / "cuda" / "launch.cu"],
        out,
        ["-O1", *included, *flags, "-x", "c++"],
        kernels,
    )


class Problem(ctypes.Structure):
    """struct latentloop_cuda_nearest_problem."""

    _fields_ = (
        ("vectors", ctypes.c_int64),
        ("positions", ctypes.c_int64),
        ("dimensions", ctypes.c_int32),
        ("codewords", ctypes.c_int32),
        ("type", ctypes.c_int32),
        ("exact", ctypes.c_int32),
        ("multiprocessors", ctypes.c_int32),
    )


class Memory(ctypes.Structure):
    """struct latentloop_cuda_nearest_memory."""

    _fields_ = (
        ("z", ctypes.c_void_p),
        ("codebook", ctypes.c_void_p),
        ("prepared", ctypes.c_void_p),
        ("workspace", ctypes.c_void_p),
        ("workspace_bytes", ctypes.c_int64),
        ("index", ctypes.c_void_p),
        ("distance", ctypes.c_void_p),
        ("codeword", ctypes.c_void_p),
        ("invalid", ctypes.c_void_p),
    )


@dataclass(frozen=True)
class SearchResult:
    """The outputs of a search."""

    index: NDArray[np.int64]
    distance: NDArray[np.float32]
    codeword: Values
    invalid: int


class Launcher:
    """The C interface of liblatentloop_cuda.so, or of the launcher compiled for the CPU."""

    def __init__(self, library: Path) -> None:
        self.library = ctypes.CDLL(str(library))
        self.library.latentloop_cuda_error.restype = ctypes.c_char_p

    def error(self) -> str:
        text: bytes = self.library.latentloop_cuda_error()
        return text.decode()

    def sizes(self, problem: Problem) -> tuple[int, int]:
        """Returns the sizes of `prepared` and `workspace` in bytes. Raises ValueError."""
        prepared, workspace = ctypes.c_int64(), ctypes.c_int64()
        self._check(
            self.library.latentloop_cuda_nearest_sizes(
                ctypes.byref(problem), ctypes.byref(prepared), ctypes.byref(workspace)
            )
        )
        return prepared.value, workspace.value

    def prepare(self, problem: Problem, codebook: Values, prepared: NDArray[Any]) -> None:
        """Raises ValueError, or RuntimeError for a CUDA error."""
        self._check(
            self.library.latentloop_cuda_nearest_prepare(
                ctypes.byref(problem),
                ctypes.c_void_p(codebook.ctypes.data),
                ctypes.c_void_p(prepared.ctypes.data),
                None,
            )
        )

    def search(self, problem: Problem, memory: Memory) -> None:
        """Raises ValueError, or RuntimeError for a CUDA error."""
        self._check(self.library.latentloop_cuda_nearest_codebook(ctypes.byref(problem), ctypes.byref(memory), None))

    def nearest(self, problem: Problem, z: Values, codebook: Values) -> SearchResult:
        """Prepares the codebook and searches. Memory that the launcher must write is filled with noise first."""
        prepared_bytes, workspace_bytes = self.sizes(problem)
        prepared = np.full(prepared_bytes // 4, 1e30, np.float32)  # more than any norm
        workspace = np.full((workspace_bytes + 15) // 16 * 2, np.nan, np.complex64)  # aligned to 16 bytes by NumPy
        index, distance = np.full(problem.vectors, -7), np.full(problem.vectors, -7, np.float32)
        codeword, invalid = np.zeros_like(z), np.zeros(1, np.int32)
        self.prepare(problem, codebook, prepared)
        self.search(
            problem,
            Memory(
                *(array.ctypes.data for array in (z, codebook, prepared, workspace)),
                workspace_bytes,
                *(array.ctypes.data for array in (index, distance, codeword, invalid)),
            ),
        )
        return SearchResult(index, distance, codeword, int(invalid[0]))

    def _check(self, status: int) -> None:
        if status:
            raise (ValueError, RuntimeError)[status - 1](self.error())
