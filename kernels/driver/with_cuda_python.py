"""The GPU through cuda-python, the driver's own interface."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.kernels.driver.cuda_graph import Captured, recorded, released
from latentloop.kernels.driver.driver import DriverError, MissingGpuError
from latentloop.kernels.driver.fatbin import read_image
from latentloop.kernels.driver.host_memory import PageLocked, bytes_of
from latentloop.kernels.driver.stream import Stream

_SUCCESS = 0


@dataclass(eq=False)
class _Mark:
    """An event's life, which its own object cannot show: it takes no weak references."""

    event: Any


class _StreamLife:
    """A stream's life, for the same reason."""


class CudaPython:
    """A Driver; see there. Raises MissingGpuError where package, driver or GPU are missing."""

    name = "cuda-python"
    captures = True

    def __init__(self) -> None:
        try:
            self._cuda: Any = import_module("cuda.bindings.driver")
        except ModuleNotFoundError as error:
            raise MissingGpuError(f"{error} (pip install cuda-python)") from error
        except Exception as error:  # whatever a broken installation does
            raise MissingGpuError(f"its installation is broken: {type(error).__name__}: {error}") from error
        try:
            self._call("cuInit", 0)
            count = self.devices()
        except RuntimeError as error:  # also where there is no libcuda
            raise MissingGpuError(" ".join(str(error).split())) from error
        if not count:
            raise MissingGpuError("the driver finds no GPU")
        self._primary: dict[int, Any] = {}  # contexts by device
        self._libraries: dict[Path, Any] = {}
        self._functions: dict[tuple[Path, str], int] = {}
        self._attributes: dict[tuple[int, str], int] = {}
        self._after_capture: dict[int, ExitStack] = {}  # by the stream that is being captured

    def _call(self, function: str, *arguments: Any) -> Any:
        status, *results = getattr(self._cuda, function)(*arguments)
        if status != _SUCCESS:
            raise DriverError(f"{function}: {status.name}")
        return results[0] if results else None

    def devices(self) -> int:
        """As CUDA_VISIBLE_DEVICES leaves them."""
        return int(self._call("cuDeviceGetCount"))

    def device_of(self, pointer: int) -> int:
        """By the pointer's attributes."""
        attribute = self._cuda.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
        try:
            return int(self._call("cuPointerGetAttribute", attribute, pointer))
        except DriverError as error:
            raise ValueError(f"{pointer:#x} is not memory of a GPU: {error}") from error

    @contextmanager
    def use(self, device: int) -> Iterator[None]:
        """Pushes the primary context where the current one is another device's, or none."""
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
        """Its handle."""
        return int(self._call("cuCtxGetCurrent"))

    def multiprocessors(self) -> int:
        """Asked for once a device."""
        return self._attribute("MULTIPROCESSOR_COUNT")

    def capability(self) -> tuple[int, int]:
        """Asked for once a device."""
        return self._attribute("COMPUTE_CAPABILITY_MAJOR"), self._attribute("COMPUTE_CAPABILITY_MINOR")

    def _attribute(self, name: str) -> int:
        device = int(self._call("cuCtxGetDevice"))
        if (device, name) not in self._attributes:
            attribute = getattr(self._cuda.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
            self._attributes[device, name] = int(self._call("cuDeviceGetAttribute", attribute, device))
        return self._attributes[device, name]

    def function(self, image: Path, name: str) -> Any:
        """Loaded once a process."""
        # Of a library, which serves every context, unlike a module.
        if image not in self._libraries:
            data = read_image(image)
            self._libraries[image] = self._call("cuLibraryLoadData", data, [], [], 0, [], [], 0)
        if (image, name) not in self._functions:
            kernel = self._call("cuLibraryGetKernel", self._libraries[image], name.encode())
            self._functions[image, name] = int(kernel)  # launches take its number in place of a function's
        return self._functions[image, name]

    def launch(self, function: Any, grid: tuple[int, int], threads: int, argument: bytes, stream: Stream) -> None:
        """The argument is copied before this returns."""
        copied = ctypes.create_string_buffer(argument, len(argument))
        parameters = (ctypes.c_void_p * 1)(ctypes.addressof(copied))
        blocks = (*grid, 1, threads, 1, 1)
        self._call("cuLaunchKernel", function, *blocks, 0, stream.handle, ctypes.addressof(parameters), 0)

    def allocate(self, size: int, stream: Stream) -> int:
        """From the device's own pool. Raises DriverError in a capture, whose graph would own the memory."""
        if stream.handle in self._after_capture:
            raise DriverError("allocate: the stream is being captured; allocate before the capture")
        return int(self._call("cuMemAllocAsync", size, stream.handle))

    def free(self, pointer: int, stream: Stream) -> None:
        """Back to that pool; after the capture where the stream is being captured."""
        if after := self._after_capture.get(stream.handle):
            after.callback(self.free, pointer, stream)
        else:
            self._call("cuMemFreeAsync", pointer, stream.handle)

    def zero(self, pointer: int, size: int, stream: Stream) -> None:
        """Asynchronously."""
        self._call("cuMemsetD8Async", pointer, 0, size, stream.handle)

    def to_host(self, pointer: int, size: int, stream: Stream) -> bytes:
        """Through pageable memory."""
        copied = ctypes.create_string_buffer(size)
        self._call("cuMemcpyDtoHAsync", ctypes.addressof(copied), pointer, size, stream.handle)
        self._call("cuStreamSynchronize", stream.handle)
        return copied.raw

    def record(self, stream: Stream) -> Any:
        """An event without a time."""
        event = self._call("cuEventCreate", self._cuda.CUevent_flags.CU_EVENT_DISABLE_TIMING)
        mark = _Mark(event)
        weakref.finalize(mark, self._call, "cuEventDestroy", event).atexit = False
        self._call("cuEventRecord", event, stream.handle)
        return mark

    def wait(self, stream: Stream, mark: Any) -> None:
        """On the device."""
        self._call("cuStreamWaitEvent", stream.handle, mark.event, 0)

    def synchronize(self, mark: Any) -> None:
        """Waits for that work alone."""
        self._call("cuEventSynchronize", mark.event)

    def stream(self) -> Stream:
        """Work that it still has when it is destroyed is done all the same."""
        handle = self._call("cuStreamCreate", self._cuda.CUstream_flags.CU_STREAM_NON_BLOCKING)
        owner = _StreamLife()
        weakref.finalize(owner, released, self._cuda, self._call, "cuStreamDestroy", handle).atexit = False
        return Stream(int(handle), owner)

    def host_memory(self, size: int) -> NDArray[np.uint8]:
        """Copies that use it are to be over before it goes."""
        device = int(self._call("cuCtxGetDevice"))
        pointer = int(self._call("cuMemHostAlloc", size, 0))
        memory = PageLocked(pointer, size)
        weakref.finalize(memory, self._free_host, device, pointer).atexit = False
        return np.asarray(memory)

    def _free_host(self, device: int, pointer: int) -> None:
        with self.use(device):
            released(self._cuda, self._call, "cuMemFreeHost", pointer)

    def copy_in(self, pointer: int, values: NDArray[Any], stream: Stream) -> None:
        """Raises ValueError for an array that is not contiguous."""
        source = bytes_of(values)
        self._call("cuMemcpyHtoDAsync", pointer, source.ctypes.data, source.nbytes, stream.handle)

    def copy_out(self, values: NDArray[Any], pointer: int, stream: Stream) -> None:
        """Waits where ``values`` are not in page-locked memory. Raises ValueError for an array that is not contiguous
        or is read-only.
        """
        target = bytes_of(values, filled=True)
        self._call("cuMemcpyDtoHAsync", target.ctypes.data, pointer, target.nbytes, stream.handle)

    def copy(self, target: int, source: int, size: int, stream: Stream) -> None:
        """Asynchronously."""
        self._call("cuMemcpyDtoDAsync", target, source, size, stream.handle)

    @contextmanager
    def capture(self, stream: Stream) -> Iterator[Captured]:
        """Into a CUDA graph. Run the work once before: a library's first call may do what cannot be captured."""
        with ExitStack() as after, recorded(self._cuda, self._call, stream) as captured:
            self._after_capture[stream.handle] = after
            try:
                yield captured
            finally:
                del self._after_capture[stream.handle]

    def replay(self, captured: Captured, stream: Stream) -> None:
        """Raises ValueError for a capture that is not over, or was discarded."""
        if captured.executable is None:
            raise ValueError("captured holds no work: replay it after its with block, which must end without an error")
        self._call("cuGraphLaunch", captured.executable, stream.handle)
