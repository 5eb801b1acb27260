"""A tensor in a file: its shape is known at once, its values are read on demand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentloop.export.state_dicts.files.mapped_file import MappedFile
from latentloop.kernels.element_types import ELEMENT_TYPES

Shape = tuple[int, ...]

MAX_AXES = 16


@dataclass(frozen=True)
class StoredTensor:
    """A view of the bytes of ``file`` that ``read`` returns: ``shape`` elements of ``dtype``.

    ``strides`` and ``offset`` count elements. ``problem`` says why the values cannot be read; it is empty if they can.
    """

    dtype: str
    shape: Shape
    strides: Shape
    offset: int
    file: MappedFile
    read: Callable[[], memoryview]
    byte_order: str = "<"
    problem: str = ""

    @property
    def is_float(self) -> bool:
        """Whether its type is one that a weight can have: float64, float32, float16 or bfloat16."""
        return self.dtype in ELEMENT_TYPES and ELEMENT_TYPES[self.dtype].epsilon > 0

    @property
    def epsilon(self) -> float:
        """The distance between 1 and the next number of its type."""
        return ELEMENT_TYPES[self.dtype].epsilon

    @property
    def nbytes(self) -> int:
        """The size of its elements in bytes, counted by the shape: an expanded view counts shared elements again."""
        return math.prod(self.shape) * element_size(self.dtype)

    def values(self) -> NDArray[np.float64]:
        """Returns a copy of its values. The tensor must be ``is_float`` and have no ``problem``.

        Raises CheckpointError if the file is damaged or has changed.
        """
        dtype = ELEMENT_TYPES[self.dtype]
        if 0 in self.shape:
            return np.zeros(self.shape)
        last = sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))
        stored = f"{self.byte_order}{dtype.numpy[1:]}"
        steps = tuple(stride * dtype.size for stride in self.strides)
        with self.file.reading():
            flat = np.frombuffer(self.read(), stored, last + 1, self.offset * dtype.size)
            view = np.lib.stride_tricks.as_strided(flat, self.shape, steps, writeable=False)
            with np.errstate(invalid="ignore"):  # signalling NaN is reported as not finite
                return dtype.values(view).astype(np.float64)


def element_size(dtype: str) -> int:
    """Returns the bytes of one element; 0 for an unknown type."""
    return ELEMENT_TYPES[dtype].size if dtype in ELEMENT_TYPES else 0


def most_bytes(file_size: int) -> int:
    """Returns a limit of the memory for a file's tensors; views and compression can exceed the file's own size."""
    return max(1 << 26, 20 * file_size)


def contiguous(shape: Shape) -> Shape:
    """Returns the strides, in elements, of a tensor in row-major order."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def out_of_bounds(shape: object, strides: object, offset: object, elements: int) -> str:
    """Returns why a view does not fit into a storage of ``elements``, or an empty string if it does."""
    if not isinstance(shape, tuple) or not isinstance(strides, tuple) or len(shape) != len(strides):
        return "has no valid shape"
    if len(shape) > MAX_AXES or not all(isinstance(n, int) and n >= 0 for n in (*shape, *strides, offset)):
        return "has no valid shape"
    if 0 in shape:
        return ""
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    return "" if last < elements else f"claims {list(shape)}, more than the file holds"
