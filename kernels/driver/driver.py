"""The interface to the CUDA driver, implemented by cuda-python and by pycuda."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from latentloop.kernels.driver.stream import Stream


class DriverError(RuntimeError):
    """A call of the CUDA driver failed. The message names the call."""


class MissingGpuError(RuntimeError):
    """A GPU, a package that drives it, or the compiled kernels are missing. The message says how to install them."""


class Driver(Protocol):
    """The CUDA driver, as one package offers it.

    All methods except ``devices``, ``device_of`` and ``use`` act on the device that ``use`` made current. Only
    ``to_host`` and ``synchronize`` wait for the GPU; implementations document their exceptions.
    """

    @property
    def name(self) -> str:
        """The package's name."""

    @property
    def can_capture(self) -> bool:
        """Whether ``capture`` and ``replay`` (CUDA graphs) are supported."""

    def devices(self) -> int:
        """Returns the number of GPUs."""

    def device_of(self, pointer: int) -> int:
        """Returns the number of the device that owns the memory. Raises ValueError for other memory."""

    def use(self, device: int) -> AbstractContextManager[None]:
        """Makes a context of the device current within the with block.

        It is the caller's current context if that is one of the device's, otherwise the device's primary context.
        """

    def context(self) -> int:
        """Returns a number that identifies the current context. A device may have several, each with its own memory."""

    def multiprocessors(self) -> int:
        """Returns the device's number of multiprocessors."""

    def capability(self) -> tuple[int, int]:
        """Returns the device's compute capability, such as (9, 0)."""

    def model(self) -> str:
        """Returns the device's name, such as NVIDIA H200."""

    def function(self, fatbin: Path, name: str) -> Any:
        """Returns a kernel of a compiled fatbin, for ``launch``. Raises MissingGpuError if the file does not exist."""

    def launch(self, function: Any, grid: tuple[int, int], threads: int, argument: bytes, stream: Stream) -> None:
        """Enqueues a kernel with ``threads`` threads per block. Its single argument is a struct, passed as bytes."""

    def allocate(self, size: int, stream: Stream) -> int:
        """Returns a pointer to ``size`` > 0 bytes, aligned to at least 256, for later work on the stream."""

    def free(self, pointer: int, stream: Stream) -> None:
        """Frees memory that was allocated on the stream, in stream order: after the work enqueued so far."""

    def zero(self, pointer: int, size: int, stream: Stream) -> None:
        """Enqueues setting ``size`` bytes to 0."""

    def to_host(self, pointer: int, size: int, stream: Stream) -> bytes:
        """Waits for the work enqueued so far on the stream, and returns ``size`` bytes of device memory."""

    def record(self, stream: Stream) -> Any:
        """Returns an event that completes after the work enqueued so far on the stream."""

    def wait(self, stream: Stream, event: Any) -> None:
        """Makes later work on the stream wait for the event."""

    def synchronize(self, event: Any) -> None:
        """Blocks the calling thread until the event has completed."""

    def stream(self) -> Stream:
        """Returns a new stream, independent of the legacy default stream. It is destroyed with its last reference."""

    def host_memory(self, size: int) -> NDArray[np.uint8]:
        """Returns ``size`` > 0 bytes of page-locked host memory. It is freed with the array."""

    def copy_in(self, pointer: int, values: NDArray[Any], stream: Stream) -> None:
        """Enqueues a copy from contiguous host memory, which must not change until the copy has completed."""

    def copy_out(self, values: NDArray[Any], pointer: int, stream: Stream) -> None:
        """Enqueues a copy into contiguous host memory. The values are valid once a later event has completed."""

    def copy(self, target: int, source: int, size: int, stream: Stream) -> None:
        """Enqueues a copy within the device. The two ranges must not overlap."""

    def capture(self, stream: Stream) -> AbstractContextManager[Any]:
        """Captures the work that the with block enqueues on the stream, instead of running it.

        Yields a graph for ``replay``, which is usable after the block. It refers to memory by address; the caller must
        keep that memory alive. Raises MissingGpuError unless ``can_capture``.
        """

    def replay(self, graph: Any, stream: Stream) -> None:
        """Enqueues the captured work."""
