"""A simulated GPU with the interface of Driver. It executes work as late as possible and detects errors of the program.

Memory of the GPU is memory of the CPU, filled with NaN; an address is never reused. Enqueued work runs when the host
waits for it, in a random order that streams and events permit. Two pieces of work that access the same bytes, of which
at least one writes, must be ordered by streams, events or a wait of the host; otherwise FakeGpuError reports the race,
even if they would run in the right order. Allocation and free count as writes. Streams other than the legacy default
stream do not wait for it, like those of PyTorch.

Accesses to page-locked host memory are checked in the same way. In addition, the source of a copy to the GPU must not
change before the copy has finished, and the target of a copy from the GPU has wrong values until then.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fake_gpu import nearest_kernels
from fake_gpu.accesses import Access
from fake_gpu.allocations import Allocation
from fake_gpu.page_locked import allocate_page_locked
from fake_gpu.scheduler import FakeGpuError
from fake_gpu.streams import FakeStreams
from latentloop.kernels.driver.host_memory import bytes_of
from latentloop.kernels.driver.stream import LEGACY, Stream
from latentloop.kernels.nearest_codebook.launcher import FATBIN

__all__ = ["Access", "FakeDriver", "FakeGpuError"]


class FakeDriver(FakeStreams):
    """A Driver. ``kernels`` is the library of tests/native/grid/nearest.cpp; None: kernels do nothing.

    Host arrays of copies must come from ``host_memory``, because a copy of pageable memory makes the host wait.
    ``pageable`` permits such copies.
    """

    def __init__(
        self,
        kernels: ctypes.CDLL | None = None,
        seed: int = 0,
        multiprocessors: int = 3,
        devices: int = 1,
        capability: tuple[int, int] = (9, 0),
        captures: bool = True,
        pageable: bool = False,
    ) -> None:
        super().__init__(seed, devices, captures)
        self.kernels, self.processors = kernels, multiprocessors
        self.compute_capability, self.pageable = capability, pageable
        self.model_name = "Simulated GPU"

    @property
    def name(self) -> str:
        return "fake"

    # ---- For tests and for the simulated libraries, like ``enqueue``.

    def put(self, values: NDArray[Any], stream: Stream = LEGACY, device: int = 0, offset: int = 0) -> int:
        """Returns an address to which the stream writes ``values``, ``offset`` bytes into a new allocation."""
        with self._lock:
            allocation = self.allocations.add(Allocation(values.nbytes + offset, device))
        copied = np.ascontiguousarray(values).tobytes()
        pointer = allocation.pointer + offset
        access = Access("a test's array", pointer, values.nbytes, True)
        with self.use(device):
            self._enqueue("put", stream, lambda: ctypes.memmove(pointer, copied, len(copied)), [access])
        return pointer

    def reserve(self, size: int) -> int:
        """Allocates memory for a library on the current device, without a stream."""
        with self._lock:
            return self.allocations.add(Allocation(size, self._device())).pointer

    def release(self, pointer: int) -> None:
        """Frees memory of ``reserve`` at once, not after the work of a stream."""
        allocation = self.allocations.find(pointer, 1)
        assert allocation is not None
        allocation.freed = True

    def finish(self) -> None:
        """Waits for all work and checks the guards of all allocations."""
        self._host_waits(self.scheduler.everything())
        for allocation in self.allocations:
            allocation.check_guards()

    def live(self) -> int:
        """Returns the number of allocations of ``allocate`` that are not freed."""
        return sum(allocation.handle is not None and not allocation.freed for allocation in self.allocations)

    # ---- Methods of Driver: devices and kernels.

    def devices(self) -> int:
        return self.device_count

    def device_of(self, pointer: int) -> int:
        allocation = self.allocations.find(pointer, 1)
        if allocation is None or allocation.host:
            raise ValueError(f"{pointer:#x} is not memory of a GPU")
        return allocation.device

    def multiprocessors(self) -> int:
        self._device()
        return self.processors

    def capability(self) -> tuple[int, int]:
        self._device()
        return self.compute_capability

    def model(self) -> str:
        self._device()
        return self.model_name

    def function(self, image: Path, name: str) -> Any:
        self._device()
        if image != FATBIN:
            raise FakeGpuError(f"image {image}, expected {FATBIN}")
        return name

    def launch(self, function: Any, grid: tuple[int, int], threads: int, argument: bytes, stream: Stream) -> None:
        nearest_kernels.check_launch(function, grid, argument)
        seed = self.scheduler.random.getrandbits(32)
        run = nearest_kernels.kernel_run(self.kernels, function, grid, threads, argument, seed)
        self.enqueue(function, stream, run, nearest_kernels.accesses_of(function, argument))

    # ---- Methods of Driver: memory.

    def allocate(self, size: int, stream: Stream) -> int:
        if size <= 0:
            raise FakeGpuError(f"an allocation of {size} bytes")
        self._check_not_captured("allocate", stream)
        with self._lock:
            allocation = self.allocations.add(Allocation(size, self._device(), stream.handle))
        self._enqueue("allocate", stream, lambda: None, [Access("the allocation", allocation.pointer, size, True)])
        return allocation.pointer

    def free(self, pointer: int, stream: Stream) -> None:
        self._check_not_captured("free", stream)
        allocation = self.allocations.find(pointer, 1)
        if allocation is None or allocation.pointer != pointer or allocation.handle is None:
            raise FakeGpuError(f"free of {pointer:#x}, which was never allocated")
        if allocation.handle != stream.handle:
            raise FakeGpuError("free on another stream than the allocation's")

        def run() -> None:
            allocation.check_guards()
            allocation.poison()

        self._enqueue("free", stream, run, [Access("the allocation", pointer, allocation.size, True)])
        allocation.freed = True

    def zero(self, pointer: int, size: int, stream: Stream) -> None:
        accesses = [Access("the target", pointer, size, True)]
        self._enqueue("zero", stream, lambda: ctypes.memset(pointer, 0, size), accesses)

    def copy(self, target: int, source: int, size: int, stream: Stream) -> None:
        accesses = [Access("the source", source, size), Access("the target", target, size, True)]
        if accesses[0].overlaps(accesses[1]):
            raise FakeGpuError(f"copy: source and target of {size} bytes overlap")
        self._enqueue("copy", stream, lambda: ctypes.memmove(target, source, size), accesses)

    # ---- Methods of Driver: the host.

    def to_host(self, pointer: int, size: int, stream: Stream) -> bytes:
        self._check_host_may_wait("to_host")
        copied = bytearray()
        accesses = [Access("the source", pointer, size)]
        self._enqueue("to_host", stream, lambda: copied.extend(ctypes.string_at(pointer, size)), accesses)
        self._host_waits(self.scheduler.record(stream.handle))
        return bytes(copied)

    def host_memory(self, size: int) -> NDArray[np.uint8]:
        self._check_host_may_wait("host_memory")
        if size <= 0:
            raise FakeGpuError(f"{size} bytes of host memory")
        with self._lock:
            return allocate_page_locked(self.allocations, size, self._device())

    def copy_in(self, pointer: int, values: NDArray[Any], stream: Stream) -> None:
        source, target = bytes_of(values), Access("the target", pointer, values.nbytes, True)
        if self._is_page_locked(source, "copy_in"):
            address = source.ctypes.data
            accesses = [Access("the source", address, source.nbytes, host=True), target]
            self._enqueue("copy_in", stream, lambda: ctypes.memmove(pointer, address, target.size), accesses)
        else:
            staged = source.tobytes()
            self._enqueue("copy_in", stream, lambda: ctypes.memmove(pointer, staged, target.size), [target])

    def copy_out(self, values: NDArray[Any], pointer: int, stream: Stream) -> None:
        target, source = bytes_of(values, writable=True), Access("the source", pointer, values.nbytes)
        address = target.ctypes.data
        is_page_locked = self._is_page_locked(target, "copy_out")
        if not is_page_locked:
            self._check_host_may_wait("copy_out")
        accesses = [source, Access("the target", address, source.size, True, host=True)] if is_page_locked else [source]
        self._enqueue("copy_out", stream, lambda: ctypes.memmove(address, pointer, source.size), accesses)
        if not is_page_locked:
            self._host_waits(self.scheduler.record(stream.handle))

    def _is_page_locked(self, values: NDArray[np.uint8], text: str) -> bool:
        allocation = self.allocations.find(values.ctypes.data, values.nbytes)
        if allocation is None and not self.pageable:
            raise FakeGpuError(
                f"{text}: the host array does not come from host_memory, so the copy would wait; if that is intended, "
                "use FakeDriver(pageable=True)"
            )
        return allocation is not None
