"""What a launcher needs of a GPU, whichever package drives it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from latentloop.kernels.driver.stream import Stream


class DriverError(RuntimeError):
    """A call of the CUDA driver failed; the text names the call."""


class MissingGpuError(RuntimeError):
    """A GPU, a package that drives it, or the compiled kernels are missing; the text says how to get them."""


class Driver(Protocol):
    """CUDA, as one package offers it. All but ``device_of`` and ``use`` act on the device that ``use`` made current.

    Nothing waits for the GPU except ``to_host``; whatever a driver cannot do without waiting says so.
    """

    @property
    def name(self) -> str:
        """The package's name."""

    def device_of(self, pointer: int) -> int:
        """The number of the device whose memory that is. Raises ValueError for other memory."""

    def use(self, device: int) -> AbstractContextManager[None]:
        """Makes a context of the device current for a while: the caller's own where that is one, else the primary."""

    def multiprocessors(self) -> int:
        """How many the device has."""

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
