"""A tensor in a file: its shape is known at once, its values are read on demand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, ...]

# Types that a weight can have: bytes of an element, and the distance between 1 and the next number.
_WEIGHTS = {"float64": (8, 2.0**-52), "float32": (4, 2.0**-23), "float16": (2, 2.0**-10), "bfloat16": (2, 2.0**-7)}
# Other types: bytes of an element.
_OTHERS = {
    "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1, "bool": 1, "uint16": 2, "uint32": 4, "uint64": 8,
    "complex64": 8, "complex128": 16, "qint8": 1, "quint8": 1, "qint32": 4,
}  # fmt: skip
MAX_AXES = 16


@dataclass(frozen=True)
class StoredTensor:
    """A view of the bytes that ``read`` returns: ``shape`` elements of ``dtype``.

    ``strides`` and ``offset`` count elements. ``problem`` says why the values cannot be read; it is empty if they can.
    """

    dtype: str
    shape: Shape
    strides: Shape
    offset: int
    read: Callable[[], memoryview]
    byte_order: str = "<"
    problem: str = ""

    @property
    def is_float(self) -> bool:
        """Whether its type is one that a weight can have: float64, float32, float16 or bfloat16."""
        return self.dtype in _WEIGHTS

    @property
    def epsilon(self) -> float:
        """The distance between 1 and the next number of its type."""
        return _WEIGHTS[self.dtype][1]

    @property
    def nbytes(self) -> int:
        """The size of its elements in bytes, counted by the shape: an expanded view counts shared elements again."""
        return math.prod(self.shape) * element_size(self.dtype)

    def values(self) -> NDArray[np.float64]:
        """Returns a copy of its values. The tensor must be ``is_float`` and have no ``problem``."""
        size = element_size(self.dtype)
        code = f"{self.byte_order}u2" if self.dtype == "bfloat16" else f"{self.byte_order}f{size}"
        if 0 in self.shape:
            return np.zeros(self.shape)
        last = sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))
        flat = np.frombuffer(self.read(), code, last + 1, self.offset * size)
        steps = tuple(stride * size for stride in self.strides)
        view = np.lib.stride_tricks.as_strided(flat, self.shape, steps, writeable=False)
        if self.dtype == "bfloat16":
            view = (view.astype(np.uint32) << 16).view(np.float32)
        with np.errstate(invalid="ignore"):  # signalling NaN is reported as not finite
            return view.astype(np.float64)


def element_size(dtype: str) -> int:
    """Returns the bytes of one element; 0 for an unknown type."""
    return _WEIGHTS[dtype][0] if dtype in _WEIGHTS else _OTHERS.get(dtype, 0)


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
