"""A tensor where it lies in a file: its shape is known at once, its values are read when they are asked for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, ...]

# Bytes of one element, and the distance between 1 and the next number, of what weights may be.
_WEIGHTS = {"float64": (8, 2.0**-52), "float32": (4, 2.0**-23), "float16": (2, 2.0**-10), "bfloat16": (2, 2.0**-7)}
# Bytes of one element of other types.
_OTHERS = {
    "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1, "bool": 1, "uint16": 2, "uint32": 4, "uint64": 8,
    "complex64": 8, "complex128": 16, "qint8": 1, "quint8": 1, "qint32": 4,
}  # fmt: skip
MOST_AXES = 16


@dataclass(frozen=True)
class StoredTensor:
    """``shape`` elements of ``dtype``, ``strides`` apart (in elements) from ``offset`` on, of what ``read`` gives.

    ``problem`` says why the values cannot be read, where they cannot.
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
        """Whether it can be a weight: float64, float32, float16 or bfloat16."""
        return self.dtype in _WEIGHTS

    @property
    def epsilon(self) -> float:
        """The distance between 1 and the next number of its type."""
        return _WEIGHTS[self.dtype][1]

    @property
    def nbytes(self) -> int:
        """What its elements take, each counted as often as the shape says."""
        return math.prod(self.shape) * element_size(self.dtype)

    def values(self) -> NDArray[np.float64]:
        """Its values, in an array of their own. The tensor must be ``is_float`` and have no ``problem``."""
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
    """Bytes of one element; 0 for a type that is not known here."""
    return _WEIGHTS[dtype][0] if dtype in _WEIGHTS else _OTHERS.get(dtype, 0)


def most_bytes(file_size: int) -> int:
    """What the tensors of a file may take when they are read: more than it has, for views and packed archives."""
    return max(1 << 26, 20 * file_size)


def contiguous(shape: Shape) -> Shape:
    """The strides, in elements, of a tensor that lies row after row."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def out_of_bounds(shape: object, strides: object, offset: object, elements: int) -> str:
    """Why a tensor of this view does not lie in a storage of ``elements``, or an empty string."""
    if not isinstance(shape, tuple) or not isinstance(strides, tuple) or len(shape) != len(strides):
        return "has no shape"
    if len(shape) > MOST_AXES or not all(isinstance(n, int) and n >= 0 for n in (*shape, *strides, offset)):
        return "has no shape"
    if 0 in shape:
        return ""
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    return "" if last < elements else f"claims {list(shape)}, more than the file holds"
