"""The element types of arrays, with their names and codes in NumPy, DLPack, ONNX, TensorRT, safetensors and PyTorch.

The codes are plain data of the public formats, so that no package but NumPy is needed to read the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ElementType:
    """One type. Its name is NumPy's and PyTorch's. A format that lacks the type, or is not used with it: -1, 0, ""."""

    name: str
    size: int  # bytes of one element
    numpy: str  # NumPy's type of the elements, or of their bits: NumPy has no bfloat16
    dlpack: int = -1  # type code
    onnx: int = 0  # TensorProto.DataType
    tensorrt: str = ""  # member of tensorrt.DataType
    short: str = ""  # in safetensors and, in lower case, in the names of kernels
    storage: str = ""  # PyTorch's storage class, without "Storage"
    epsilon: float = 0.0  # the distance between 1 and the next number; 0 for types that no weight has

    @property
    def typestr(self) -> str | None:
        """The type in the CUDA array interface; None for bfloat16, which the interface does not support."""
        return None if self is BFLOAT16 else self.numpy

    @property
    def onnxruntime(self) -> str:
        """The type of a tensor as ONNX Runtime names it (``NodeArg.type``)."""
        return f"tensor({ {'float32': 'float', 'float64': 'double'}.get(self.name, self.name) })"

    def values(self, bits: NDArray[Any]) -> NDArray[Any]:
        """Returns the values of an array of type ``numpy``: bfloat16 as float32, other types unchanged."""
        return (bits.astype(np.uint32) << 16).view(np.float32) if self is BFLOAT16 else bits


FLOAT64 = ElementType("float64", 8, "<f8", 2, 11, "", "F64", "Double", 2.0**-52)
FLOAT32 = ElementType("float32", 4, "<f4", 2, 1, "FLOAT", "F32", "Float", 2.0**-23)
FLOAT16 = ElementType("float16", 2, "<f2", 2, 10, "HALF", "F16", "Half", 2.0**-10)
BFLOAT16 = ElementType("bfloat16", 2, "<u2", 4, 16, "BF16", "BF16", "BFloat16", 2.0**-7)
INT64 = ElementType("int64", 8, "<i8", 0, 7, "INT64", "I64", "Long")
INT32 = ElementType("int32", 4, "<i4", 0, 6, "INT32", "I32", "Int")
UINT8 = ElementType("uint8", 1, "|u1", 1, 2, "UINT8", "U8", "Byte")
BOOL = ElementType("bool", 1, "|b1", 6, 9, "BOOL", "BOOL", "Bool")

FLOATS = (FLOAT32, FLOAT16, BFLOAT16)  # of a codebook's vectors on a GPU
BOUND = (*FLOATS, INT64, UINT8)  # of the inputs, outputs and state buffers of graphs and engines
ELEMENT_TYPES = {
    each.name: each
    for each in (
        *BOUND,
        FLOAT64,
        INT32,
        BOOL,
        ElementType("int16", 2, "<i2", 0, 5, "", "I16", "Short"),
        ElementType("int8", 1, "|i1", 0, 3, "INT8", "I8", "Char"),
        ElementType("uint16", 2, "<u2", 1, 4, "", "U16"),
        ElementType("uint32", 4, "<u4", 1, 12, "", "U32"),
        ElementType("uint64", 8, "<u8", 1, 13, "", "U64"),
        ElementType("complex64", 8, "<c8", 5, 14, storage="ComplexFloat"),
        ElementType("complex128", 16, "<c16", 5, 15, storage="ComplexDouble"),
        ElementType("qint8", 1, "|i1", storage="QInt8"),
        ElementType("quint8", 1, "|u1", storage="QUInt8"),
        ElementType("qint32", 4, "<i4", storage="QInt32"),
    )
}
