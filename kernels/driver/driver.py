"""What a launcher needs of a GPU, whichever package drives it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from latentloop.kernels.driver.stream import Stream


class DriverError(RuntimeError):
    """A call of the CUDA driver failed; the text names the call."""


class MissingGpuError(RuntimeError):
    """A GPU, a package that drives it, or the compiled kernels are missing; the text says how to get them."""


class Driver(Protocol):
    """CUDA, as one package offers it. All but ``device_of`` and ``use`` act on the device that ``use`` made current.

    Nothing waits for the GPU except ``to_host`` and ``synchronize``; what a driver cannot do without waiting says so.
    """

    @property
    def name(self) -> str:
        """The package's name."""

    @property
    def captures(self) -> bool:
        """Whether ``capture`` and ``replay`` are there."""

    def devices(self) -> int:
        """How many GPUs there are."""

    def device_of(self, pointer: int) -> int:
        """The number of the device whose memory that is. Raises ValueError for other memory."""

    def use(self, device: int) -> AbstractContextManager[None]:
        """Makes a context of the device current for a while: the caller's own where that is one, else the primary."""

    def context(self) -> int:
        """A number for the current context, of which a device may have several: each has memory of its own."""

    def multiprocessors(self) -> int:
        """How many the device has."""

    def capability(self) -> tuple[int, int]:
        """Its compute capability, (9, 0) for one."""

    def function(self, image: Path, name: str) -> Any:
        """A kernel of a compiled image, for ``launch``. Raises MissingGpuError without that file."""

    def launch(self, function: Any, grid: tuple[int, int], threads: int, argument: bytes, stream: Stream) -> None:
        """Enqueues grid blocks of that many threads; the kernel takes one struct, of these bytes, by value."""

    def allocate(self, size: int, stream: Stream) -> int:
        """A pointer to ``size`` > 0 bytes, aligned to at least 256, for work that the stream gets from here on."""

    def free(self, pointer: int, stream: Stream) -> None:
        """Gives back what was allocated on that stream, once the work that it has so far is done."""

    def zero(self, pointer: int, size: int, stream: Stream) -> None:
        """Enqueues setting bytes to 0."""

    def to_host(self, pointer: int, size: int, stream: Stream) -> bytes:
        """Those bytes, after the work that the stream has so far; waits for it."""

    def record(self, stream: Stream) -> Any:
        """A mark after the work that the stream has so far, for ``wait``."""

    def wait(self, stream: Stream, mark: Any) -> None:
        """Makes the stream's further work wait for the mark."""

    def synchronize(self, mark: Any) -> None:
        """The host waits for the mark."""

    def stream(self) -> Stream:
        """A new stream that does not wait for the legacy default stream; destroyed when nothing refers to it."""

    def host_memory(self, size: int) -> NDArray[np.uint8]:
        """``size`` > 0 bytes of the host that copies use directly (page-locked); given back with the array."""

    def copy_in(self, pointer: int, values: NDArray[Any], stream: Stream) -> None:
        """Enqueues a copy to the device of contiguous host memory, which must stay as it is until that is done."""

    def copy_out(self, values: NDArray[Any], pointer: int, stream: Stream) -> None:
        """Enqueues a copy into contiguous host memory: it is there once a later mark has been waited for."""

    def copy(self, target: int, source: int, size: int, stream: Stream) -> None:
        """Enqueues a copy within the device; the two must not overlap."""

    def capture(self, stream: Stream) -> AbstractContextManager[Any]:
        """The work that the stream gets meanwhile is recorded, not done; the value is for ``replay``, afterwards.

        It refers to the memory of that work by address: whoever replays it keeps that alive. Raises MissingGpuError
        without ``captures``.
        """

    def replay(self, captured: Any, stream: Stream) -> None:
        """Enqueues the captured work as one piece."""
