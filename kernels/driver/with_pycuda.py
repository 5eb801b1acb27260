"""The driver through pycuda.

pycuda supports only its own streams and the legacy default stream. Work on another library's stream is rejected; where
such a stream would have to wait, or to be waited for, the host waits instead. pycuda 2026.1 has no CUDA graphs, so it
cannot capture. Objects must be freed in the thread that created them.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.kernels.driver.driver import DriverError, MissingGpuError
from latentloop.kernels.driver.fatbin import read_fatbin
from latentloop.kernels.driver.host_memory import bytes_of
from latentloop.kernels.driver.starting import import_driver, start_driver
from latentloop.kernels.driver.stream import LEGACY, Stream, as_stream

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING, which pycuda does not define


class Pycuda:
    """Implements Driver. Raises MissingGpuError if the package, the NVIDIA driver or a GPU is missing."""

    name = "pycuda"
    can_capture = False

    def __init__(self) -> None:
        remedy = "pip install pycuda, with the CUDA toolkit"
        self._cuda, self._tools = import_driver("pycuda.driver", remedy), import_driver("pycuda.tools", remedy)
        start_driver(self._cuda.init, self.devices, self._cuda.Error)
        self._primary: dict[int, Any] = {}  # contexts, by device
        # These belong to a context, which is the first part of their keys.
        self._modules: dict[tuple[int, Path], Any] = {}
        self._functions: dict[tuple[int, Path, str], Any] = {}
        # One pool per stream: memory is then reused only for later work on the same stream.
        self._pools: dict[tuple[int, Stream], Any] = {}
        self._allocated: dict[int, Any] = {}
        # Also runs at process exit, in this order: pycuda reports objects that outlive their context.
        objects = (self._allocated, self._functions, self._modules, self._pools)
        weakref.finalize(self, _close, self._pools, objects, self._primary)

    def devices(self) -> int:
        """Counts the devices that CUDA_VISIBLE_DEVICES allows."""
        return int(self._cuda.Device.count())

    def device_of(self, pointer: int) -> int:
        """Looks in the current context; without one, in the primary context of each device."""
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
        """Pushes the primary context unless the current context is one of the device."""
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
        """Returns the context's handle."""
        return int(self._cuda.Context.get_current().handle)

    def multiprocessors(self) -> int:
        """Reads the attribute of the current context's device."""
        attribute = self._cuda.device_attribute.MULTIPROCESSOR_COUNT
        return int(self._cuda.Context.get_device().get_attribute(attribute))

    def capability(self) -> tuple[int, int]:
        """Reads the attribute of the current context's device."""
        major, minor = self._cuda.Context.get_device().compute_capability()
        return int(major), int(minor)

    def model(self) -> str:
        """Reads the name of the current context's device."""
        return str(self._cuda.Context.get_device().name())

    def function(self, fatbin: Path, name: str) -> Any:
        """Cached per context."""
        context = self.context()
        if (context, fatbin) not in self._modules:
            self._modules[context, fatbin] = self._cuda.module_from_buffer(read_fatbin(fatbin))
        if (context, fatbin, name) not in self._functions:
            self._functions[context, fatbin, name] = self._modules[context, fatbin].get_function(name)
        return self._functions[context, fatbin, name]

    def launch(self, function: Any, grid: tuple[int, int], threads: int, argument: bytes, stream: Stream) -> None:
        """Copies the argument before it returns."""
        with self._driver_errors("launch"):
            function(np.void(argument), grid=grid, block=(threads, 1, 1), stream=self._pycuda_stream(stream))

    def allocate(self, size: int, stream: Stream) -> int:
        """Allocates from a pool per stream, because pycuda's allocation is not stream-ordered."""
        self._pycuda_stream(stream)
        pool = self._pools.get((self.context(), stream))
        if pool is None:
            pool = self._pools[self.context(), stream] = self._tools.DeviceMemoryPool()
        with self._driver_errors("allocate"):
            memory = pool.allocate(size)
        self._allocated[int(memory)] = memory
        return int(memory)

    def free(self, pointer: int, stream: Stream) -> None:
        """Returns the memory to the pool."""
        self._allocated.pop(pointer).free()

    def zero(self, pointer: int, size: int, stream: Stream) -> None:
        """Asynchronous."""
        self._call("memset_d8_async", pointer, 0, size, self._pycuda_stream(stream))

    def to_host(self, pointer: int, size: int, stream: Stream) -> bytes:
        """Copies in stream order."""
        copied, pycuda_stream = np.empty(size, np.uint8), self._pycuda_stream(stream)
        with self._driver_errors("memcpy_dtoh"):
            if pycuda_stream is None:
                self._cuda.memcpy_dtoh(copied, pointer)
            else:
                self._cuda.memcpy_dtoh_async(copied, pointer, pycuda_stream)
                pycuda_stream.synchronize()
        return copied.tobytes()

    def record(self, stream: Stream) -> Any:
        """Records an event without timing. For streams of other libraries, waits and returns None."""
        if not self._is_supported(stream):
            self._cuda.Context.synchronize()
            return None
        return self._cuda.Event(self._cuda.event_flags.DISABLE_TIMING).record(self._pycuda_stream(stream))

    def wait(self, stream: Stream, event: Any) -> None:
        """Waits on the device if pycuda supports it, else on the host."""
        if event is None:
            return
        if not self._is_supported(stream) or stream == LEGACY:  # pycuda has no object for the legacy stream
            event.synchronize()
        else:
            stream.owner.wait_for_event(event)

    def synchronize(self, event: Any) -> None:
        """Waits only for the event; returns at once if ``record`` has waited."""
        if event is not None:
            event.synchronize()

    def stream(self) -> Stream:
        """Returns a pycuda stream."""
        return as_stream(self._call("Stream", _NON_BLOCKING))

    def host_memory(self, size: int) -> NDArray[np.uint8]:
        """The array must outlive the copies that use it."""
        memory: NDArray[np.uint8] = self._call("pagelocked_empty", size, np.uint8)
        return memory

    def copy_in(self, pointer: int, values: NDArray[Any], stream: Stream) -> None:
        """Raises ValueError if the array is not contiguous."""
        self._call("memcpy_htod_async", pointer, bytes_of(values), self._pycuda_stream(stream))

    def copy_out(self, values: NDArray[Any], pointer: int, stream: Stream) -> None:
        """Waits if ``values`` are not in page-locked memory.

        Raises ValueError if the array is not contiguous or is read-only.
        """
        self._call("memcpy_dtoh_async", bytes_of(values, writable=True), pointer, self._pycuda_stream(stream))

    def copy(self, target: int, source: int, size: int, stream: Stream) -> None:
        """Asynchronous."""
        self._call("memcpy_dtod_async", target, source, size, self._pycuda_stream(stream))

    def capture(self, stream: Stream) -> AbstractContextManager[Any]:
        """Raises MissingGpuError."""
        raise MissingGpuError("pycuda does not support CUDA graphs: pip install cuda-python, which does")

    def replay(self, graph: Any, stream: Stream) -> None:
        """Raises MissingGpuError."""
        self.capture(stream)

    def _is_supported(self, stream: Stream) -> bool:
        return stream == LEGACY or isinstance(stream.owner, self._cuda.Stream)

    def _pycuda_stream(self, stream: Stream) -> Any:
        if not self._is_supported(stream):
            raise ValueError(
                f"stream {stream.handle:#x} is not a pycuda stream: pass a pycuda.driver.Stream or no stream, or "
                "install cuda-python, which accepts streams of all libraries"
            )
        return None if stream == LEGACY else stream.owner

    def _call(self, function: str, *arguments: Any) -> Any:
        with self._driver_errors(function):
            return getattr(self._cuda, function)(*arguments)

    @contextmanager
    def _driver_errors(self, call: str) -> Iterator[None]:
        """Converts pycuda's errors to DriverError, which names the call."""
        try:
            yield
        except self._cuda.Error as error:
            raise DriverError(f"{call}: {' '.join(str(error).split())}") from error


def _close(pools: dict[Any, Any], objects: Iterable[dict[Any, Any]], contexts: dict[int, Any]) -> None:
    for pool in pools.values():
        pool.stop_holding()  # a pool with cached memory needs a current context when it goes, and aborts without one
    for cache in objects:
        cache.clear()
    for context in contexts.values():
        context.detach()
