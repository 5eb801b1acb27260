"""The native operator library for the CPU: its path, checks before loading, and its functions."""

from __future__ import annotations

import ctypes
import os
import struct
import threading
import warnings
from functools import cache
from pathlib import Path

FILE_NAME = "liblatentloop_operators.so"

_unusable: set[Path] = set()  # libraries for which warn_unusable was called
_lock = threading.Lock()


class OperatorsWarning(UserWarning):
    """A native library exists but cannot be used. The results are the same without it, but slower."""


def operators() -> Path | None:
    """Returns the path of the ONNX Runtime operator library, or None if it was not built.

    Without it, graphs run the bodies of their functions. The path may be unusable, such as a folder or a dangling link:
    see ``problem``.
    """
    path = Path(__file__).resolve().parent / FILE_NAME
    return path if os.path.lexists(path) else None


def problem(library: Path) -> str | None:
    """Returns why the file cannot be a library, or None. The dynamic loader would crash on a truncated file."""
    try:
        if library.is_symlink() and not library.exists():
            return f"a link to {os.readlink(library)}, which does not exist"
        if not library.is_file():  # opening a pipe would block
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
    return f"truncated, {size} of {end} bytes" if size < end else None


def is_unusable(library: Path) -> bool:
    """Returns whether ``warn_unusable`` was called for the library."""
    return library in _unusable


def warn_unusable(library: Path, reason: str) -> None:
    """Warns, once per process and library, that it cannot be used. It is not loaded again."""
    with _lock:
        if library in _unusable:
            return
        _unusable.add(library)
    text = f"the native operators cannot be loaded: {reason} ({library})"
    remedy = "graphs run in standard ONNX operators, more slowly; reinstall latentloop"
    warnings.warn(f"{text}: {remedy}", OperatorsWarning, stacklevel=2)


@cache
def load() -> ctypes.CDLL | None:
    """Returns the library's functions. None if it was not built, or with a warning if it cannot be loaded."""
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
    """Returns the name of the instruction set whose kernels the library uses on this processor.

    Raises OSError or AttributeError if the file is not this library.
    """
    function = ctypes.CDLL(str(library)).latentloop_instruction_set
    function.restype = ctypes.c_char_p
    name: bytes = function()
    return name.decode()
