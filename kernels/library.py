"""The native operator library: where it is, if it was built."""

from __future__ import annotations

import ctypes
from pathlib import Path

FILE_NAME = "liblatentloop_operators.so"


def operators() -> Path | None:
    """The ONNX Runtime operator library, or None where none was built: then graphs run their functions' bodies."""
    path = Path(__file__).resolve().parent / FILE_NAME
    return path if path.is_file() else None


def instruction_set(library: Path) -> str:
    """The instruction set whose kernels the library runs on this processor. Raises OSError if it cannot be loaded."""
    name = ctypes.CDLL(str(library)).latentloop_instruction_set
    name.restype = ctypes.c_char_p
    found: bytes = name()
    return found.decode()
