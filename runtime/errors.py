"""The exceptions that LatentLoop raises.

LatentLoopError
├── InputError            an argument or an input file is wrong
│   └── ConfigurationError    hyper-parameters do not describe a valid model
├── BundleError           a bundle is corrupt, tampered with, or of another version
├── CheckpointError       a checkpoint cannot be read as the expected model
├── OutputError           a result cannot be written
├── MissingError          an optional package or a device is missing
└── DeviceError           a GPU failed or ran out of memory
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable

MAX_LISTED = 20  # items in a message; the rest is counted


class LatentLoopError(Exception):
    """Base class of all of them."""


class InputError(LatentLoopError, ValueError):
    """An argument or an input file has the wrong type, shape or range."""


class ConfigurationError(InputError):
    """Hyper-parameters do not describe a valid model."""


class BundleError(LatentLoopError):
    """A bundle is corrupt, truncated, tampered with, or of an unknown version."""


class CheckpointError(LatentLoopError):
    """A checkpoint cannot be read as the expected model."""


class OutputError(LatentLoopError):
    """A result cannot be written, for example because the disk is full or the path exists."""


class MissingError(LatentLoopError):
    """An optional package or a device is missing; the message says how to get it."""


class DeviceError(LatentLoopError):
    """A call of the GPU driver failed, for example because the GPU is out of memory."""


class _ShortRepr(reprlib.Repr):
    """A ``reprlib.Repr`` with limits for messages."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 60
        self.maxlist = 10

    def repr_int(self, x: int, level: int) -> str:
        """Returns the number of bits of an integer that Python refuses to format: one of thousands of digits."""
        try:
            return super().repr_int(x, level)
        except ValueError:
            return f"an integer of {x.bit_length()} bits"


class _JsonRepr(_ShortRepr):
    """Shows what JSON writes in another way than Python as JSON does."""

    def repr_NoneType(self, x: None, level: int) -> str:
        """Returns null."""
        return "null"

    def repr_bool(self, x: bool, level: int) -> str:
        """Returns true or false."""
        return str(x).lower()


_short, _json = _ShortRepr(), _JsonRepr()


def short_repr(value: object) -> str:
    """Returns the representation of a value, shortened to one line for a message."""
    return " ".join(_short.repr(value).splitlines())


def json_repr(value: object) -> str:
    """Like ``short_repr``, of a value that was read from JSON: null, true and false as they stand in the file."""
    return " ".join(_json.repr(value).splitlines())


def printable(value: object) -> str:
    """Returns a text or a path as one line for any terminal: control characters and undecodable bytes are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(value))


def plural(n: int, noun: str) -> str:
    """Returns the singular or plural of a noun for n things."""
    return noun if n == 1 else f"{noun}{'es' if noun.endswith('s') else 's'}"


def listed(items: Iterable[object], separator: str = ", ", most: int = MAX_LISTED) -> str:
    """Joins the first ``most`` items for a message; a longer list ends with the number of the others."""
    texts = [str(item) for item in items]
    more = [f"and {len(texts) - most} more"] if len(texts) > most else []
    return separator.join([*texts[:most], *more])
