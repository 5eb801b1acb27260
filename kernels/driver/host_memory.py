"""The host's side of copies: arrays as their bytes, and memory that copies read and write directly."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class PageLocked:
    """``size`` bytes at ``pointer``, as NumPy adopts them; the last array that views them lets go of this object."""

    def __init__(self, pointer: int, size: int) -> None:
        self.__array_interface__ = {"shape": (size,), "typestr": "|u1", "data": (pointer, False), "version": 3}


def bytes_of(values: NDArray[Any], filled: bool = False) -> NDArray[np.uint8]:
    """The array's bytes, as a view. Raises ValueError where they are not contiguous, or read-only and to be filled."""
    if not values.flags.forc:
        raise ValueError(
            f"values of shape {list(values.shape)} have strides {list(values.strides)} in bytes, expected contiguous "
            "memory: call numpy.ascontiguousarray first"
        )
    if filled and not values.flags.writeable:
        raise ValueError("values are read-only, expected an array that a copy can fill")
    return values.ravel(order="K").view(np.uint8)
