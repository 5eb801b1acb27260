"""The types of values that device arrays hold here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class DataType:
    """A type's name, bytes, DLPack type code, and NumPy type: of bfloat16, which NumPy lacks, its bits, unsigned."""

    name: str
    size: int
    code: int
    numpy: np.dtype[np.generic]

    @property
    def typestr(self) -> str | None:
        """As the CUDA array interface spells it, which has no word for bfloat16."""
        return None if self is BFLOAT16 else self.numpy.str


FLOAT32 = DataType("float32", 4, 2, np.dtype("<f4"))
FLOAT16 = DataType("float16", 2, 2, np.dtype("<f2"))
BFLOAT16 = DataType("bfloat16", 2, 4, np.dtype("<u2"))
INT64 = DataType("int64", 8, 0, np.dtype("<i8"))
UINT8 = DataType("uint8", 1, 1, np.dtype("u1"))

FLOATS = (FLOAT32, FLOAT16, BFLOAT16)
