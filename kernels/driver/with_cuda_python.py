"""The driver through cuda-python."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.kernels.driver.cuda_graph import CapturedGraph, capture_graph, destroy
from latentloop.kernels.driver.driver import DriverError
from latentloop.kernels.driver.fatbin import read_fatbin
from latentloop.kernels.driver.host_memory import PageLockedBuffer, bytes_of
from latentloop.kernels.driver.starting import import_driver, start_driver
from latentloop.kernels.driver.stream import Stream

_SUCCESS = 0
_NAME_SIZE = 256  # bytes, most of the name of a device


@dataclass(eq=False)
class _Event:
    """A CUDA event. Unlike cuda-python's object it supports weak references, so a finaliser can destroy the event."""

    handle: Any


class _StreamOwner:
    """The owner of a stream; its finaliser destroys the stream."""


class CudaPython:
    """Implements Driver. Raises MissingGpuError if the package, the NVIDIA driver or a GPU is missing."""

    name = "cuda-python"
    can_capture = True

    def __init__(self) -> None:
        self._cuda = import_driver("cuda.bindings.driver", "pip install cuda-python")
        # RuntimeError is also raised if there is no libcuda.
        start_driver(lambda: self._call("cuInit", 0), self.devices, RuntimeError)
        self._primary: dict[int, Any] = {}  # contexts, by device
        self._libraries: dict[Path, Any] = {}
        self._functions: dict[tuple[Path, str], int] = {}
        self._attributes: dict[tuple[int, str], int] = {}
        self._after_capture: dict[int, ExitStack] = {}  # frees to run after the capture, by stream handle

    def _call(self, function: str, *arguments: Any) -> Any:
        status, *results = getattr(self._cuda, function)(*arguments)
        if status != _SUCCESS:
            raise DriverError(f"{function}: {status.name}")
        return results[0] if results else None

    def devices(self) -> int:
        """Counts the devices that CUDA_VISIBLE_DEVICES allows."""
        return int(self._call("cuDeviceGetCount"))

    def device_of(self, pointer: int) -> int:
        """Reads the pointer's attributes."""
        attribute = self._cuda.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
        try:
            return int(self._call("cuPointerGetAttribute", attribute, pointer))
        except DriverError as error:
            raise ValueError(f"{pointer:#x} is not memory of a GPU: {error}") from error

    @contextmanager
    def use(self, device: int) -> Iterator[None]:
        """Pushes the primary context unless the current context is one of the device."""
        if int(self._call("cuCtxGetCurrent")) and int(self._call("cuCtxGetDevice")) == device:
            yield
            return
        if device not in self._primary:
            self._primary[device] = self._call("cuDevicePrimaryCtxRetain", device)
        self._call("cuCtxPushCurrent", self._primary[device])
        try:
            yield
        finally:
            self._call("cuCtxPopCurrent")

    def context(self) -> int:
        """Returns the context's handle."""
        return int(self._call("cuCtxGetCurrent"))

    def multiprocessors(self) -> int:
        """Cached per device."""
        return self._attribute("MULTIPROCESSOR_COUNT")

    def capability(self) -> tuple[int, int]:
        """Cached per device."""
        return self._attribute("COMPUTE_CAPABILITY_MAJOR"), self._attribute("COMPUTE_CAPABILITY_MINOR")

    def model(self) -> str:
        """Reads the name of the current context's device."""
        name: bytes = self._call("cuDeviceGetName", _NAME_SIZE, int(self._call("cuCtxGetDevice")))
        return name.partition(b"\0")[0].decode(errors="replace")

    def _attribute(self, name: str) -> int:
        device = int(self._call("cuCtxGetDevice"))
        if (device, name) not in self._attributes:
            attribute = getattr(self._cuda.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
            self._attributes[device, name] = int(self._call("cuDeviceGetAttribute", attribute, device))
        return self._attributes[device, name]

    def function(self, fatbin: Path, name: str) -> Any:
        """Cached per process."""
        # A CUDA library is usable in every context; a module belongs to one.
        if fatbin not in self._libraries:
            data = read_fatbin(fatbin)
            self._libraries[fatbin] = self._call("cuLibraryLoadData", data, [], [], 0, [], [], 0)
        if (fatbin, name) not in self._functions:
            kernel = self._call("cuLibraryGetKernel", self._libraries[fatbin], name.encode())
            self._functions[fatbin, name] = int(kernel)  # cuLaunchKernel accepts a kernel's handle as a function
        return self._functions[fatbin, name]

    def launch(self, function: Any, grid: tuple[int, int], threads: int, argument: bytes, stream: Stream) -> None:
        """Copies the argument before it returns."""
        copied = ctypes.create_string_buffer(argument, len(argument))
        parameters = (ctypes.c_void_p * 1)(ctypes.addressof(copied))
        blocks = (*grid, 1, threads, 1, 1)
        self._call("cuLaunchKernel", function, *blocks, 0, stream.handle, ctypes.addressof(parameters), 0)

    def allocate(self, size: int, stream: Stream) -> int:
        """Allocates from the device's pool. Raises DriverError during a capture: the graph would own the memory."""
        if stream.handle in self._after_capture:
            raise DriverError("allocate: the stream is being captured; allocate before the capture")
        return int(self._call("cuMemAllocAsync", size, stream.handle))

    def free(self, pointer: int, stream: Stream) -> None:
        """Returns the memory to the pool; if the stream is being captured, after the capture."""
        if after := self._after_capture.get(stream.handle):
            after.callback(self.free, pointer, stream)
        else:
            self._call("cuMemFreeAsync", pointer, stream.handle)

    def zero(self, pointer: int, size: int, stream: Stream) -> None:
        """Asynchronous."""
        self._call("cuMemsetD8Async", pointer, 0, size, stream.handle)

    def to_host(self, pointer: int, size: int, stream: Stream) -> bytes:
        """Copies through pageable memory."""
        copied = ctypes.create_string_buffer(size)
        self._call("cuMemcpyDtoHAsync", ctypes.addressof(copied), pointer, size, stream.handle)
        self._call("cuStreamSynchronize", stream.handle)
        return copied.raw

    def record(self, stream: Stream) -> Any:
        """Records an event without timing."""
        handle = self._call("cuEventCreate", self._cuda.CUevent_flags.CU_EVENT_DISABLE_TIMING)
        event = _Event(handle)
        weakref.finalize(event, self._call, "cuEventDestroy", handle).atexit = False
        self._call("cuEventRecord", handle, stream.handle)
        return event

    def wait(self, stream: Stream, event: Any) -> None:
        """Waits on the device."""
        self._call("cuStreamWaitEvent", stream.handle, event.handle, 0)

    def synchronize(self, event: Any) -> None:
        """Waits only for the event."""
        self._call("cuEventSynchronize", event.handle)

    def stream(self) -> Stream:
        """Pending work completes even after the stream is destroyed."""
        handle = self._call("cuStreamCreate", self._cuda.CUstream_flags.CU_STREAM_NON_BLOCKING)
        owner = _StreamOwner()
        weakref.finalize(owner, destroy, self._cuda, self._call, "cuStreamDestroy", handle).atexit = False
        return Stream(int(handle), owner)

    def host_memory(self, size: int) -> NDArray[np.uint8]:
        """The array must outlive the copies that use it."""
        device = int(self._call("cuCtxGetDevice"))
        pointer = int(self._call("cuMemHostAlloc", size, 0))
        memory = PageLockedBuffer(pointer, size)
        weakref.finalize(memory, self._free_host, device, pointer).atexit = False
        return np.asarray(memory)

    def _free_host(self, device: int, pointer: int) -> None:
        with self.use(device):
            destroy(self._cuda, self._call, "cuMemFreeHost", pointer)

    def copy_in(self, pointer: int, values: NDArray[Any], stream: Stream) -> None:
        """Raises ValueError if the array is not contiguous."""
        source = bytes_of(values)
        self._call("cuMemcpyHtoDAsync", pointer, source.ctypes.data, source.nbytes, stream.handle)

    def copy_out(self, values: NDArray[Any], pointer: int, stream: Stream) -> None:
        """Waits if ``values`` are not in page-locked memory.

        Raises ValueError if the array is not contiguous or is read-only.
        """
        target = bytes_of(values, writable=True)
        self._call("cuMemcpyDtoHAsync", target.ctypes.data, pointer, target.nbytes, stream.handle)

    def copy(self, target: int, source: int, size: int, stream: Stream) -> None:
        """Asynchronous."""
        self._call("cuMemcpyDtoDAsync", target, source, size, stream.handle)

    @contextmanager
    def capture(self, stream: Stream) -> Iterator[CapturedGraph]:
        """Run the work once before its capture: the first call of a library may do things that cannot be captured."""
        with ExitStack() as after, capture_graph(self._cuda, self._call, stream) as graph:
            self._after_capture[stream.handle] = after
            try:
                yield graph
            finally:
                del self._after_capture[stream.handle]

    def replay(self, graph: CapturedGraph, stream: Stream) -> None:
        """Raises ValueError if the capture has not ended, or ended with an error."""
        if graph.executable is None:
            raise ValueError("the graph is empty: replay it after its with block, which must end without an error")
        self._call("cuGraphLaunch", graph.executable, stream.handle)
