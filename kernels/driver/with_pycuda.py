"""The GPU through pycuda.

pycuda takes no streams but its own and the legacy default stream: work on another library's stream is refused, and
where another library's stream is only to be waited for, or to wait, the host waits instead. It has no CUDA graphs
(2026.1), so nothing can be captured. What it made returns to the GPU in the thread that made it, and not in others.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.kernels.driver.driver import DriverError, MissingGpuError
from latentloop.kernels.driver.fatbin import read_image
from latentloop.kernels.driver.host_memory import bytes_of
from latentloop.kernels.driver.stream import LEGACY, Stream, as_stream

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING, for which pycuda has no name


class Pycuda:
    """A Driver; see there. Raises MissingGpuError where package, driver or GPU are missing."""

    name = "pycuda"
    captures = False

    def __init__(self) -> None:
        try:
            self._cuda: Any = import_module("pycuda.driver")
            self._tools: Any = import_module("pycuda.tools")
        except ModuleNotFoundError as error:
            raise MissingGpuError(f"{error} (pip install pycuda, with the CUDA toolkit)") from error
        except Exception as error:  # whatever a broken installation does
            raise MissingGpuError(f"its installation is broken: {type(error).__name__}: {error}") from error
        try:
            self._cuda.init()
            count = self.devices()
        except self._cuda.Error as error:
            raise MissingGpuError(" ".join(str(error).split())) from error
        if not count:
            raise MissingGpuError("the driver finds no GPU")
        self._primary: dict[int, Any] = {}  # contexts by device
        # All below belong to a context, the first part of their keys.
        self._modules: dict[tuple[int, Path], Any] = {}
        self._functions: dict[tuple[int, Path, str], Any] = {}
        # Of one stream each: what it gives again was freed earlier in the same stream's order.
        self._pools: dict[tuple[int, Stream], Any] = {}
        self._allocated: dict[int, Any] = {}
        # At the process's end, and in this order: pycuda complains of what outlives its context.
        held = (self._allocated, self._functions, self._modules, self._pools)
        weakref.finalize(self, _close, self._pools, held, self._primary)

    def devices(self) -> int:
        """As CUDA_VISIBLE_DEVICES leaves them."""
        return int(self._cuda.Device.count())

    def device_of(self, pointer: int) -> int:
        """Asks the current context, or else the primary one of each device."""
        current = self._current_device()
        for device in [current] if current is not None else range(self.devices()):
            with self.use(device):
                try:
                    self._cuda.mem_get_address_range(pointer)
                except self._cuda.Error:
                    continue
                return device
        raise ValueError(f"{pointer:#x} is not memory of {'the current context' if current is not None else 'a GPU'}")

    def _current_device(self) -> int | None:
        if self._cuda.Context.get_current() is None:
            return None
        device = self._cuda.Context.get_device()
        return next(n for n in range(self.devices()) if self._cuda.Device(n) == device)

    @contextmanager
    def use(self, device: int) -> Iterator[None]:
        """Pushes the primary context where the current one is another device's, or none."""
        if self._current_device() == device:
            yield
            return
        if device not in self._primary:
            self._primary[device] = self._cuda.Device(device).retain_primary_context()
        self._primary[device].push()
        try:
            yield
        finally:
            self._cuda.Context.pop()

    def context(self) -> int:
        """Its handle."""
        return int(self._cuda.Context.get_current().handle)

    def multiprocessors(self) -> int:
        """Of the current context's device."""
        attribute = self._cuda.device_attribute.MULTIPROCESSOR_COUNT
        return int(self._cuda.Context.get_device().get_attribute(attribute))

    def capability(self) -> tuple[int, int]:
        """Of the current context's device."""
        major, minor = self._cuda.Context.get_device().compute_capability()
        return int(major), int(minor)

    def function(self, image: Path, name: str) -> Any:
        """Loaded once a context."""
        context = self.context()
        if (context, image) not in self._modules:
            self._modules[context, image] = self._cuda.module_from_buffer(read_image(image))
        if (context, image, name) not in self._functions:
            self._functions[context, image, name] = self._modules[context, image].get_function(name)
        return self._functions[context, image, name]

    def launch(self, function: Any, grid: tuple[int, int], threads: int, argument: bytes, stream: Stream) -> None:
        """The argument is copied before this returns."""
        with self._named("launch"):
            function(np.void(argument), grid=grid, block=(threads, 1, 1), stream=self._own(stream))

    def allocate(self, size: int, stream: Stream) -> int:
        """From a pool of the stream's own, since pycuda allocates for all streams at once."""
        self._own(stream)
        pool = self._pools.get((self.context(), stream))
        if pool is None:
            pool = self._pools[self.context(), stream] = self._tools.DeviceMemoryPool()
        with self._named("allocate"):
            memory = pool.allocate(size)
        self._allocated[int(memory)] = memory
        return int(memory)

    def free(self, pointer: int, stream: Stream) -> None:
        """Back to that pool."""
        self._allocated.pop(pointer).free()

    def zero(self, pointer: int, size: int, stream: Stream) -> None:
        """Asynchronously."""
        with self._named("memset_d8_async"):
            self._cuda.memset_d8_async(pointer, 0, size, self._own(stream))

    def to_host(self, pointer: int, size: int, stream: Stream) -> bytes:
        """Ordered by the stream."""
        copied, own = np.empty(size, np.uint8), self._own(stream)
        with self._named("memcpy_dtoh"):
            if own is None:
                self._cuda.memcpy_dtoh(copied, pointer)
            else:
                self._cuda.memcpy_dtoh_async(copied, pointer, own)
                own.synchronize()
        return copied.tobytes()

    def record(self, stream: Stream) -> Any:
        """An event without a time; None where the host had to wait."""
        if not self._is_own(stream):
            self._cuda.Context.synchronize()
            return None
        return self._cuda.Event(self._cuda.event_flags.DISABLE_TIMING).record(self._own(stream))

    def wait(self, stream: Stream, mark: Any) -> None:
        """On the device where pycuda can, else on the host."""
        if mark is None:
            return
        if not self._is_own(stream) or stream == LEGACY:  # pycuda has no object for the legacy stream to wait with
            mark.synchronize()
        else:
            stream.owner.wait_for_event(mark)

    def synchronize(self, mark: Any) -> None:
        """Waits for that work alone, where the host has not waited already."""
        if mark is not None:
            mark.synchronize()

    def stream(self) -> Stream:
        """One of pycuda's."""
        with self._named("Stream"):
            return as_stream(self._cuda.Stream(_NON_BLOCKING))

    def host_memory(self, size: int) -> NDArray[np.uint8]:
        """Copies that use it are to be over before it goes."""
        with self._named("pagelocked_empty"):
            memory: NDArray[np.uint8] = self._cuda.pagelocked_empty(size, np.uint8)
        return memory

    def copy_in(self, pointer: int, values: NDArray[Any], stream: Stream) -> None:
        """Raises ValueError for an array that is not contiguous."""
        with self._named("memcpy_htod_async"):
            self._cuda.memcpy_htod_async(pointer, bytes_of(values), self._own(stream))

    def copy_out(self, values: NDArray[Any], pointer: int, stream: Stream) -> None:
        """Waits where ``values`` are not in page-locked memory. Raises ValueError for an array that is not contiguous
        or is read-only.
        """
        with self._named("memcpy_dtoh_async"):
            self._cuda.memcpy_dtoh_async(bytes_of(values, filled=True), pointer, self._own(stream))

    def copy(self, target: int, source: int, size: int, stream: Stream) -> None:
        """Asynchronously."""
        with self._named("memcpy_dtod_async"):
            self._cuda.memcpy_dtod_async(target, source, size, self._own(stream))

    def capture(self, stream: Stream) -> AbstractContextManager[Any]:
        """Raises MissingGpuError."""
        raise MissingGpuError("pycuda has no CUDA graphs to capture work in: pip install cuda-python, which has them")

    def replay(self, captured: Any, stream: Stream) -> None:
        """Raises MissingGpuError: nothing was captured."""
        self.capture(stream)

    def _is_own(self, stream: Stream) -> bool:
        return stream == LEGACY or isinstance(stream.owner, self._cuda.Stream)

    def _own(self, stream: Stream) -> Any:
        if not self._is_own(stream):
            raise ValueError(
                f"stream {stream.handle:#x} is not pycuda's: pass a pycuda.driver.Stream or no stream, or install "
                "cuda-python, which takes streams of every library"
            )
        return None if stream == LEGACY else stream.owner

    @contextmanager
    def _named(self, call: str) -> Iterator[None]:
        try:
            yield
        except self._cuda.Error as error:
            raise DriverError(f"{call}: {' '.join(str(error).split())}") from error


def _close(pools: dict[Any, Any], held: Iterable[dict[Any, Any]], contexts: dict[int, Any]) -> None:
    for pool in pools.values():
        pool.stop_holding()  # a pool that keeps what is given back asks for a current context, and ends the process
    for objects in held:
        objects.clear()
    for context in contexts.values():
        context.detach()
