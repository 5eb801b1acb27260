"""Every error that LatentLoop raises on purpose.

LatentLoopError
├── InputError            a caller's argument or input file is wrong
│   └── ConfigurationError    hyper-parameters that do not make a model
├── BundleError           a bundle is corrupt, tampered with, or of another version
├── CheckpointError       a checkpoint cannot be read as the model it should hold
├── OutputError           a result cannot be written
├── MissingError          an optional package or device is not there
└── DeviceError           a GPU failed, or has no memory left
"""

from __future__ import annotations

import reprlib


class LatentLoopError(Exception):
    """The root of the tree: catch this to catch them all."""


class InputError(LatentLoopError, ValueError):
    """An argument or an input file has the wrong type, shape or range."""


class ConfigurationError(InputError):
    """Hyper-parameters that do not make a model."""


class BundleError(LatentLoopError):
    """A bundle is corrupt, truncated, tampered with, or of an unknown version."""


class CheckpointError(LatentLoopError):
    """A checkpoint cannot be read as the model that it should hold."""


class OutputError(LatentLoopError):
    """A result cannot be written: the disk is full, or the path exists."""


class MissingError(LatentLoopError):
    """An optional package or a device is missing; the text says how to get it."""


class DeviceError(LatentLoopError):
    """A call of a GPU's driver failed: it is out of memory, or broken."""


class _ShortRepr(reprlib.Repr):
    """Limits the length and the depth of any value's representation."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 60
        self.maxlist = 10

    def repr_int(self, x: int, level: int) -> str:
        """Python refuses to format integers of thousands of digits."""
        try:
            return super().repr_int(x, level)
        except ValueError:
            return f"an integer of {x.bit_length()} bits"


_short = _ShortRepr()


def short_repr(value: object) -> str:
    """Returns the value's representation for a message: one short line."""
    return " ".join(_short.repr(value).splitlines())
