"""The native operator library: where it is, if it was built, and whether it can be used here."""

from __future__ import annotations

import ctypes
import os
import struct
import threading
import warnings
from functools import cache
from pathlib import Path

FILE_NAME = "liblatentloop_operators.so"

_unusable: set[Path] = set()  # libraries that a warning has been given for
_lock = threading.Lock()


class OperatorsWarning(UserWarning):
    """A native library is there, and cannot be used: the same is computed without it, more slowly."""


def operators() -> Path | None:
    """The ONNX Runtime operator library, or None where none was built: then graphs run their functions' bodies.

    Whatever has its name: ``problem`` says of a folder or a link that leads nowhere that it is none.
    """
    path = Path(__file__).resolve().parent / FILE_NAME
    return path if os.path.lexists(path) else None


def problem(library: Path) -> str | None:
    """What is wrong with the file, or None: the system's loader crashes on one that was cut short."""
    try:
        if library.is_symlink() and not library.exists():
            return f"a link to {os.readlink(library)}, which is not there"
        if not library.is_file():  # a pipe would wait
            return "not a file"
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


def is_unusable(library: Path) -> bool:
    """Whether ``warn_unusable`` was called for it."""
    return library in _unusable


def warn_unusable(library: Path, reason: str) -> None:
    """Says, once in a process, that a library cannot be used: nothing loads it again."""
    with _lock:
        if library in _unusable:
            return
        _unusable.add(library)
    text = f"the native operators cannot be loaded: {reason} ({library})"
    remedy = "graphs run in standard operators, more slowly; reinstall latentloop"
    warnings.warn(f"{text}: {remedy}", OperatorsWarning, stacklevel=2)


@cache
def load() -> ctypes.CDLL | None:
    """The library's functions, or None where it was not built or, with a warning, where it cannot be loaded."""
    path = operators()
    if path is None or is_unusable(path):
        return None
    reason = problem(path)
    if reason is None:
        try:
            return ctypes.CDLL(str(path))
        except OSError as error:
            reason = str(error)
    warn_unusable(path, reason)
    return None


def instruction_set(library: Path) -> str:
    """The instruction set whose kernels the library runs here. Raises OSError or AttributeError for another file."""
    name = ctypes.CDLL(str(library)).latentloop_instruction_set
    name.restype = ctypes.c_char_p
    found: bytes = name()
    return found.decode()
