"""Arrays that are read when they are needed and not kept, so that a large model is never in memory as a whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

KEPT = 1 << 26  # bytes

Array = NDArray[Any]
Shape = tuple[int, ...]
Weights = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class LazyArray:
    """An array whose shape and type are known. ``read`` computes its values; nothing keeps them."""

    shape: Shape
    read: Callable[[], Array]
    dtype: np.dtype[Any] = np.dtype(np.float32)  # noqa: RUF009 (immutable)

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * self.dtype.itemsize

    def then(self, function: Callable[[Array], Array], dtype: np.dtype[Any] | None = None) -> LazyArray:
        """Returns the array of this shape that ``function`` makes of the values."""
        return replace(self, read=lambda: function(self.read()), dtype=dtype or self.dtype)


def is_kept(nbytes: int) -> bool:
    """Returns whether the weights of a model, or of a part of one, are read once and kept: if they are small."""
    return nbytes <= KEPT


def in_memory(array: Array) -> LazyArray:
    """Returns an array that is in memory as one that can be read."""
    return LazyArray(array.shape, lambda: array, array.dtype)


def values_of(array: Array | LazyArray, dtype: type) -> Array:
    """Returns the values of either kind of array in row-major order, as ``dtype``."""
    return np.asarray(array.read() if isinstance(array, LazyArray) else array, dtype, order="C")


class LazyWeights(Mapping[str, Array]):
    """Weights by name, read each time that they are accessed. The shapes are known without reading."""

    def __init__(self, arrays: Mapping[str, LazyArray]) -> None:
        self.arrays = dict(arrays)

    def __getitem__(self, name: str) -> Array:
        """Reads a weight. Raises CheckpointError if its file has changed."""
        return self.arrays[name].read()

    def __contains__(self, name: object) -> bool:
        return name in self.arrays

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)


def weights_of(arrays: Mapping[str, LazyArray], *, check: bool = False) -> Weights:
    """Returns the weights of a model from its arrays: read now if they are to be kept, else lazy.

    ``check``: lazy ones are read once too, so that values that cannot be used raise their errors now.
    """
    weights = LazyWeights(arrays)
    if is_kept(sum(array.nbytes for array in arrays.values())):
        return dict(weights)
    if check:
        for name in weights:
            weights[name]
    return weights


def arrays_of(weights: Weights) -> dict[str, LazyArray]:
    """Returns the arrays of weights of any kind, without reading them."""
    if isinstance(weights, LazyWeights):
        return weights.arrays
    return {name: in_memory(value) for name, value in weights.items()}
