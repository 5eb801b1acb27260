"""Data types of device arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class DataType:
    """A data type: its name, its size in bytes, its DLPack type code, and its NumPy type.

    NumPy has no bfloat16; its bits are stored as uint16.
    """

    name: str
    size: int
    code: int
    numpy: np.dtype[np.generic]

    @property
    def typestr(self) -> str | None:
        """The type in the CUDA array interface; None for bfloat16, which the interface does not support."""
        return None if self is BFLOAT16 else self.numpy.str


FLOAT32 = DataType("float32", 4, 2, np.dtype("<f4"))
FLOAT16 = DataType("float16", 2, 2, np.dtype("<f2"))
BFLOAT16 = DataType("bfloat16", 2, 4, np.dtype("<u2"))
INT64 = DataType("int64", 8, 0, np.dtype("<i8"))
UINT8 = DataType("uint8", 1, 1, np.dtype("u1"))

FLOATS = (FLOAT32, FLOAT16, BFLOAT16)
