"""The native operator library: where it is, if it was built."""

from __future__ import annotations

import ctypes
import struct
from functools import cache
from pathlib import Path

FILE_NAME = "liblatentloop_operators.so"


def operators() -> Path | None:
    """The ONNX Runtime operator library, or None where none was built: then graphs run their functions' bodies."""
    path = Path(__file__).resolve().parent / FILE_NAME
    return path if path.is_file() else None


def problem(library: Path) -> str | None:
    """What is wrong with the file, or None: the system's loader crashes on one that was cut short."""
    try:
        with library.open("rb") as file:
            header = file.read(64)
            size = file.seek(0, 2)
    except OSError as error:
        return str(error.strerror)
    if len(header) < 64 or header[:5] != b"\x7fELF\x02":
        return "not a shared library of this system"
    (sections,) = struct.unpack_from("<Q", header, 0x28)
    entry_size, entries = struct.unpack_from("<HH", header, 0x3A)
    end = sections + entry_size * entries
    return f"cut short, {size} of {end} bytes" if size < end else None


@cache
def load() -> ctypes.CDLL | None:
    """The library's functions, or None where it was not built or its file cannot be loaded."""
    path = operators()
    if path is None or problem(path) is not None:
        return None
    try:
        return ctypes.CDLL(str(path))
    except OSError:
        return None


def instruction_set(library: Path) -> str:
    """The instruction set whose kernels the library runs here. Raises OSError or AttributeError for another file."""
    name = ctypes.CDLL(str(library)).latentloop_instruction_set
    name.restype = ctypes.c_char_p
    found: bytes = name()
    return found.decode()
