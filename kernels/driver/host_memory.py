"""Host memory for copies: arrays as bytes, and page-locked buffers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class PageLockedBuffer:
    """A buffer of ``size`` bytes at ``pointer``. NumPy can view it; the views hold a reference to this object."""

    def __init__(self, pointer: int, size: int) -> None:
        self.__array_interface__ = {"shape": (size,), "typestr": "|u1", "data": (pointer, False), "version": 3}


def bytes_of(values: NDArray[Any], writable: bool = False) -> NDArray[np.uint8]:
    """Returns a view of the array's bytes.

    Raises ValueError if the array is not contiguous, or if it is read-only although ``writable`` is requested.
    """
    if not values.flags.forc:
        raise ValueError(
            f"values of shape {list(values.shape)} have strides {list(values.strides)} in bytes, expected contiguous "
            "memory: call numpy.ascontiguousarray first"
        )
    if writable and not values.flags.writeable:
        raise ValueError("values are read-only, expected a writable array")
    return values.ravel(order="K").view(np.uint8)
