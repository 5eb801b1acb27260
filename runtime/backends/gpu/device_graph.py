"""A graph that a GPU runs over device memory, whichever library runs it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from latentloop.kernels.driver import Stream

SIZES = {"float32": 4, "float16": 2, "bfloat16": 2, "int64": 8, "uint8": 1}  # bytes of a value
ALIGNMENT = 256  # bytes; TensorRT refuses other addresses, and kernels may load 16 bytes at once


@dataclass(frozen=True)
class Tensor:
    """A contiguous array in device memory."""

    pointer: int
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * SIZES[self.dtype]

    @property
    def is_aligned(self) -> bool:
        """Whether a graph may be given it."""
        return self.pointer % ALIGNMENT == 0

    def overlaps(self, other: Tensor) -> bool:
        """Whether they share a byte."""
        return self.pointer < other.pointer + other.size and other.pointer < self.pointer + self.size


class DeviceGraph(Protocol):
    """One graph for one loop: its shapes stay the same from call to call, its addresses need not."""

    @property
    def name(self) -> str:
        """The file, for errors."""

    @property
    def capturable(self) -> bool:
        """Whether the driver may capture ``enqueue``, once it has run outside a capture with the same shapes."""

    def enqueue(self, tensors: Mapping[str, Tensor], stream: Stream) -> None:
        """Enqueues one run over all of the graph's inputs and outputs by name, aligned; it waits for nothing."""
