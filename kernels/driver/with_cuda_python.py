"""The GPU through cuda-python, the driver's own interface."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from latentloop.kernels.driver.image import read_image
from latentloop.kernels.driver.protocol import DriverError, MissingGpuError
from latentloop.kernels.driver.stream import Stream

_SUCCESS = 0


@dataclass(eq=False)
class _Mark:
    """An event's life, which its own object cannot show: it takes no weak references."""

    event: Any


class CudaPython:
    """A Driver; see there. Raises MissingGpuError where package, driver or GPU are missing."""

    name = "cuda-python"

    def __init__(self) -> None:
        try:
            self._cuda: Any = import_module("cuda.bindings.driver")
        except ImportError as error:
            raise MissingGpuError(f"{error} (pip install cuda-python)") from error
        try:
            self._call("cuInit", 0)
            count = self._call("cuDeviceGetCount")
        except RuntimeError as error:  # also where there is no libcuda
            raise MissingGpuError(" ".join(str(error).split())) from error
        if not count:
            raise MissingGpuError("the driver finds no GPU")
        self._primary: dict[int, Any] = {}  # contexts by device
        self._libraries: dict[Path, Any] = {}
        self._functions: dict[tuple[Path, str], int] = {}
        self._multiprocessors: dict[int, int] = {}

    def _call(self, function: str, *arguments: Any) -> Any:
        status, *results = getattr(self._cuda, function)(*arguments)
        if status != _SUCCESS:
            raise DriverError(f"{function}: {status.name}")
        return results[0] if results else None

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

    def multiprocessors(self) -> int:
        """Asked for once a device."""
        device = int(self._call("cuCtxGetDevice"))
        if device not in self._multiprocessors:
            attribute = self._cuda.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT
            self._multiprocessors[device] = self._call("cuDeviceGetAttribute", attribute, device)
        return self._multiprocessors[device]

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
        """From the device's own pool."""
        return int(self._call("cuMemAllocAsync", size, stream.handle))

    def free(self, pointer: int, stream: Stream) -> None:
        """Back to that pool."""
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
