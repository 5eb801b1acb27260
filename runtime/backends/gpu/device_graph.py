"""Tensors in device memory, and the interface of graphs that run on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from latentloop.kernels.driver import DeviceMemory, Driver, Stream
from latentloop.kernels.element_types import ELEMENT_TYPES

ALIGNMENT = 256  # bytes; TensorRT rejects other addresses, and kernels may load 16 bytes at once


@dataclass(frozen=True)
class Tensor:
    """A contiguous array in device memory, which it does not own."""

    pointer: int
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Size in bytes."""
        return math.prod(self.shape) * ELEMENT_TYPES[self.dtype].size

    @property
    def is_aligned(self) -> bool:
        """Whether a graph can be bound to this address."""
        return self.pointer % ALIGNMENT == 0

    def overlaps(self, other: Tensor) -> bool:
        """Returns whether the two share any byte."""
        return self.pointer < other.pointer + other.size and other.pointer < self.pointer + self.size

    def view(self, offset: int, shape: tuple[int, ...]) -> Tensor:
        """Returns a contiguous view of that shape that begins at value number ``offset`` of this tensor."""
        return Tensor(self.pointer + offset * ELEMENT_TYPES[self.dtype].size, self.dtype, shape)

    def row(self, i: int) -> Tensor:
        """Returns a view of the values at index i of the first axis."""
        return self.view(i * math.prod(self.shape[1:]), self.shape[1:])


class TensorAllocator:
    """Allocates tensors for the work of one stream. Their memory is freed when the allocator is deleted."""

    def __init__(self, driver: Driver, device: int, stream: Stream) -> None:
        self._driver, self._device, self._stream = driver, device, stream
        self._allocations: list[DeviceMemory] = []

    def allocate(self, dtype: str, shape: tuple[int, ...]) -> Tensor:
        """Returns a new tensor whose values are undefined."""
        memory = DeviceMemory(self._driver, self._device, math.prod(shape) * ELEMENT_TYPES[dtype].size, self._stream)
        self._allocations.append(memory)
        return Tensor(memory.pointer, dtype, shape)


class DeviceGraph(Protocol):
    """A graph that is loaded for one loop or codec: shapes stay the same from run to run, addresses may change."""

    @property
    def name(self) -> str:
        """The name of its file, for messages."""

    @property
    def capturable(self) -> bool:
        """Whether ``enqueue`` may be captured as a CUDA graph, after one run with the same shapes outside a capture."""

    def enqueue(self, tensors: Mapping[str, Tensor], stream: Stream) -> None:
        """Enqueues one run without waiting. ``tensors`` has an aligned tensor for every input and output."""


LoadGraph = Callable[[str, int, Stream], DeviceGraph]  # ``GraphProvider.load``
