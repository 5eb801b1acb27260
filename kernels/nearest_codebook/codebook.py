"""What a search takes and gives on the CPU: a codebook, prepared once, and the nearest codewords."""

from __future__ import annotations

import ctypes
import weakref
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from latentloop.kernels.library import load

MOST_DIMENSIONS = 512
MOST_CODEWORDS = 65536
_OUT_OF_MEMORY = 2

Layout = Literal["rows", "channels_first"]


@dataclass(slots=True, eq=False)
class Nearest:
    """Per vector, of z's shape without the axis D: the ``index``, int64, of the nearest codeword, -1 for a vector that
    has none; if asked for its squared Euclidean ``distance``, float32, and, of z's shape, the ``codeword`` itself, both
    NaN where there is none. ``invalid``: how many vectors have none.
    """

    index: NDArray[np.int64]
    distance: NDArray[np.float32] | None
    codeword: NDArray[np.float32] | None
    invalid: int


class Codebook:
    """A codebook [K, D] float32, prepared for any number of searches; several threads may use it at once.

    Keeps a copy of its own. ``values`` are the codewords, read-only; ``half_norms`` [K] is -|e_k|^2 / 2, or -infinity
    for a codeword that is never the nearest: one that is not finite, or too large.
    """

    def __init__(self, codewords: Any) -> None:
        """codewords: [K, D] float32, K up to 65536, D up to 512. Raises ValueError, TypeError, MemoryError."""
        given = as_float32("codebook", codewords)
        if given.ndim != 2 or not (0 < given.shape[0] <= MOST_CODEWORDS and 0 < given.shape[1] <= MOST_DIMENSIONS):
            raise ValueError(
                f"codebook is {list(given.shape)}, expected [K, D] with K from 1 to {MOST_CODEWORDS} and D from 1 to "
                f"{MOST_DIMENSIONS}"
            )
        self.values = np.array(given, order="C")
        self.values.flags.writeable = False
        self.codewords, self.dimensions = self.values.shape
        self._half_norms: NDArray[np.float32] | None = None
        self.handle: ctypes.c_void_p | None = None  # of the library's codebook
        if (functions := library()) is not None:
            self.handle = ctypes.c_void_p()
            check(
                functions.latentloop_codebook_create(
                    address(self.values), self.codewords, self.dimensions, ctypes.byref(self.handle)
                )
            )
            # Not at the interpreter's exit, when threads that nobody waits for may still search it.
            weakref.finalize(self, functions.latentloop_codebook_free, self.handle).atexit = False

    def __reduce__(self) -> tuple[type[Codebook], tuple[NDArray[np.float32]]]:
        """Copies and pickles are made of the values: the library's codebook has one owner."""
        return Codebook, (self.values,)

    @property
    def half_norms(self) -> NDArray[np.float32]:
        """[K]: -|e_k|^2 / 2, summed in float64 and rounded once; -infinity where that is not finite."""
        if self._half_norms is None:
            with np.errstate(invalid="ignore", over="ignore"):
                halves = (np.square(self.values, dtype=np.float64).sum(1) / -2).astype(np.float32)
            self._half_norms = np.where(np.isfinite(halves), halves, np.float32(-np.inf))
        return self._half_norms


@cache
def library() -> ctypes.CDLL | None:
    """The compiled functions, or None where they were not built, or the file does not hold them."""
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
    """Raises MemoryError where the library ran out of memory; its other status means a mistake in here."""
    if status == _OUT_OF_MEMORY:
        raise MemoryError("no memory for the search of the codebook")
    if status:
        raise RuntimeError(f"the operator library refused the search with status {status}: reinstall latentloop")


def as_float32(name: str, array: Any) -> NDArray[np.float32]:
    """``array``, NumPy's or anything in host memory that NumPy can look at, without a copy. Raises TypeError."""
    if getattr(array, "requires_grad", False):
        raise TypeError(f"{name} requires a gradient, and the search has none: pass {name}.detach()")
    if type(array) is not np.ndarray:
        from latentloop.kernels.sequences import is_sequence

        if is_sequence(array):
            array = [as_float32(name, entry) for entry in array]
        array = np.asanyarray(array)  # an object may give a masked array, whose mask asarray would drop
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{name} is masked, expected an array whose values all count: fill it, as in {name}.filled()")
    found = np.asarray(array)
    if found.dtype != np.float32:
        raise TypeError(
            f"{name} is {found.dtype}, expected float32 (16 bits are for arrays on a GPU): convert it, as in "
            f"{name}.astype(numpy.float32)"
        )
    return found


def address(array: Any) -> int:
    """Where the memory of a NumPy array begins that is contiguous and not empty."""
    if array.flags.writeable:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))  # a third of the time of what NumPy offers
    found: int = array.__array_interface__["data"][0]
    return found
