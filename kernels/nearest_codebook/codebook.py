"""The prepared codebook and the result of a search on the CPU, and the functions of the native library."""

from __future__ import annotations

import ctypes
import weakref
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.kernels.library import load
from latentloop.kernels.nearest_codebook.shapes import check_codebook

_OUT_OF_MEMORY = 2


@dataclass(slots=True, eq=False)
class Nearest:
    """The nearest codeword of each vector. ``distance`` and ``codeword`` are None unless requested."""

    index: NDArray[np.int64]  # z's shape without D; -1: the vector has no nearest codeword
    distance: NDArray[np.float32] | None  # as index, squared Euclidean; NaN where index is -1
    codeword: NDArray[np.float32] | None  # z's shape; NaN where index is -1
    invalid: int  # number of vectors without a nearest codeword

    def __repr__(self) -> str:
        arrays = {"index": self.index, "distance": self.distance, "codeword": self.codeword}
        shapes = [f"{name} {list(array.shape)}" for name, array in arrays.items() if array is not None]
        return f"<Nearest: {', '.join(shapes)}, {self.invalid} invalid>"


class Codebook:
    """A codebook [K, D] float32, prepared for many searches. It is thread-safe, and copies its codewords.

    ``codewords`` float32 [K, D], read-only; ``size`` is K, ``dimensions`` is D.
    """

    def __init__(self, codewords: Any) -> None:
        """``codewords``: [K, D] float32, K up to 65536, D up to 512. Raises ValueError, TypeError or MemoryError."""
        array = as_float32("codebook", codewords)
        check_codebook(array.shape)
        self.codewords = np.array(array, order="C")
        self.codewords.flags.writeable = False
        self.size, self.dimensions = self.codewords.shape
        self._half_norms: NDArray[np.float32] | None = None
        self.handle: ctypes.c_void_p | None = None  # of the native library's codebook
        if (functions := library()) is not None:
            self.handle = ctypes.c_void_p()
            check(
                functions.latentloop_codebook_create(
                    address(self.codewords), self.size, self.dimensions, ctypes.byref(self.handle)
                )
            )
            # Not at interpreter exit: daemon threads may still use the codebook.
            weakref.finalize(self, functions.latentloop_codebook_free, self.handle).atexit = False

    def __reduce__(self) -> tuple[type[Codebook], tuple[NDArray[np.float32]]]:
        """Copies and pickles contain only the codewords, because the native codebook has a single owner."""
        return Codebook, (self.codewords,)

    def __repr__(self) -> str:
        return f"<Codebook: {self.size} codewords of {self.dimensions} dimensions>"

    @property
    def half_norms(self) -> NDArray[np.float32]:
        """[K]: -|e_k|^2 / 2, summed in float64 and rounded once; -infinity if not finite: never the nearest."""
        if self._half_norms is None:
            with np.errstate(invalid="ignore", over="ignore"):
                halves = (np.square(self.codewords, dtype=np.float64).sum(1) / -2).astype(np.float32)
            self._half_norms = np.where(np.isfinite(halves), halves, np.float32(-np.inf))
        return self._half_norms


@cache
def library() -> ctypes.CDLL | None:
    """Returns the native functions; None if the library was not built, or lacks them."""
    functions = load()
    if functions is None:
        return None
    try:
        pointer, integer = ctypes.c_void_p, ctypes.c_int64
        functions.latentloop_codebook_create.argtypes = [pointer, integer, integer, pointer]
        functions.latentloop_codebook_free.argtypes = [pointer]
        functions.latentloop_codebook_free.restype = None
        functions.latentloop_nearest_codebook.argtypes = [
            *(pointer, pointer, integer, integer, ctypes.c_int32),
            *(pointer, pointer, pointer),
        ]
        functions.latentloop_nearest_codebook.restype = integer
    except AttributeError:
        return None
    return functions


def check(status: int) -> None:
    """Raises MemoryError if the library ran out of memory, RuntimeError for other errors, which indicate a bug."""
    if status == _OUT_OF_MEMORY:
        raise MemoryError("out of memory in the search of the codebook")
    if status:
        raise RuntimeError(f"the operator library rejected the search with status {status}: reinstall latentloop")


def as_float32(name: str, array: Any) -> NDArray[np.float32]:
    """Converts an array in host memory to a NumPy array, without a copy if possible.

    Raises TypeError for other dtypes than float32, masked arrays, and tensors that require a gradient.
    """
    if getattr(array, "requires_grad", False):
        raise TypeError(f"{name} requires a gradient, which the search does not compute: pass {name}.detach()")
    if type(array) is not np.ndarray:
        from latentloop.kernels.array_like import is_sequence

        if is_sequence(array):
            array = [as_float32(name, entry) for entry in array]
        array = np.asanyarray(array)  # an object may convert to a masked array, whose mask asarray would drop
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{name} is masked, expected an array without a mask: fill it, as in {name}.filled()")
    values = np.asarray(array)
    if values.dtype != np.float32:
        raise TypeError(
            f"{name} is {values.dtype}, expected float32 (16-bit types are for arrays on a GPU): convert it, as in "
            f"{name}.astype(numpy.float32)"
        )
    return values


def address(array: Any) -> int:
    """Returns the address of a contiguous, non-empty NumPy array."""
    if array.flags.writeable:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))  # three times faster than array.ctypes.data
    pointer: int = array.__array_interface__["data"][0]
    return pointer
