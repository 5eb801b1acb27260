"""A GPU on the host, as a program sees one through a driver: late, in any order that streams allow, and strict.

Memory is the host's, filled with NaN and never used again. Work is kept until something waits for it, and then done in
a random order that streams and marks permit. What two pieces of work do to the same bytes, their allocation and its end
included, must be in an order that streams, marks and the waiting host settle: else FakeGpuError, whatever order they
ran in. Streams that are not the legacy default stream never wait for it, as PyTorch's do not.

Page-locked memory of the host takes part in this. What is more, a copy to the GPU must find it as it was when the copy
was enqueued, and a copy from the GPU spoils it until that is done.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fake_gpu import nearest_kernels
from fake_gpu.host import page_locked
from fake_gpu.memory import Block, Range
from fake_gpu.order import FakeGpuError
from fake_gpu.streams import FakeStreams
from latentloop.kernels.driver.host_memory import bytes_of
from latentloop.kernels.driver.stream import LEGACY, Stream
from latentloop.kernels.nearest_codebook.launcher import IMAGE

__all__ = ["FakeDriver", "FakeGpuError", "Range"]


class FakeDriver(FakeStreams):
    """A Driver; see there. ``kernels`` is the library of tests/native/grid/nearest.cpp; None: kernels do nothing.

    Copies must use memory of ``host_memory``, as pageable memory would make the host wait; ``pageable`` lets it.
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

    @property
    def name(self) -> str:
        return "fake"

    # ---- For tests, and for libraries that use the GPU. So is ``enqueue``.

    def put(self, values: NDArray[Any], stream: Stream = LEGACY, device: int = 0, offset: int = 0) -> int:
        """Memory of the test's own that work on that stream fills with the values, ``offset`` bytes into it."""
        with self._lock:
            block = self.blocks.add(Block(values.nbytes + offset, device))
        copied = np.ascontiguousarray(values).tobytes()
        pointer = block.pointer + offset
        filled = Range("a test's array", pointer, values.nbytes, True)
        with self.use(device):
            self._enqueue("put", stream, lambda: ctypes.memmove(pointer, copied, len(copied)), [filled])
        return pointer

    def reserve(self, size: int) -> int:
        """Memory of a library's own on the current device; ``release`` ends its use at once."""
        with self._lock:
            return self.blocks.add(Block(size, self._device())).pointer

    def release(self, pointer: int) -> None:
        block = self.blocks.find(pointer, 1)
        assert block is not None
        block.freed = True

    def finish(self) -> None:
        """The host waits for everything."""
        self._host_waits(self.order.everything())
        for block in self.blocks:
            block.check_guards()

    def live(self) -> int:
        """Allocations not yet freed."""
        return sum(block.handle is not None and not block.freed for block in self.blocks)

    # ---- Driver: devices and kernels.

    def devices(self) -> int:
        return self.device_count

    def device_of(self, pointer: int) -> int:
        block = self.blocks.find(pointer, 1)
        if block is None or block.host:
            raise ValueError(f"{pointer:#x} is not memory of a GPU")
        return block.device

    def multiprocessors(self) -> int:
        self._device()
        return self.processors

    def capability(self) -> tuple[int, int]:
        self._device()
        return self.compute_capability

    def function(self, image: Path, name: str) -> Any:
        self._device()
        if image != IMAGE:
            raise FakeGpuError(f"image {image}, expected {IMAGE}")
        return name

    def launch(self, function: Any, grid: tuple[int, int], threads: int, argument: bytes, stream: Stream) -> None:
        nearest_kernels.check(function, grid, argument)
        seed = self.order.random.getrandbits(32)
        run = nearest_kernels.runner(self.kernels, function, grid, threads, argument, seed)
        self.enqueue(function, stream, run, nearest_kernels.touched(function, argument))

    # ---- Driver: memory.

    def allocate(self, size: int, stream: Stream) -> int:
        if size <= 0:
            raise FakeGpuError(f"an allocation of {size} bytes")
        self._check_not_captured("allocate", stream)
        with self._lock:
            block = self.blocks.add(Block(size, self._device(), stream.handle))
        self._enqueue("allocate", stream, lambda: None, [Range("it", block.pointer, size, True)])
        return block.pointer

    def free(self, pointer: int, stream: Stream) -> None:
        self._check_not_captured("free", stream)
        block = self.blocks.find(pointer, 1)
        if block is None or block.pointer != pointer or block.handle is None:
            raise FakeGpuError(f"free of {pointer:#x}, which was never allocated")
        if block.handle != stream.handle:
            raise FakeGpuError("free on another stream than the allocation's")

        def run() -> None:
            block.check_guards()
            block.poison()

        self._enqueue("free", stream, run, [Range("it", pointer, block.size, True)])
        block.freed = True

    def zero(self, pointer: int, size: int, stream: Stream) -> None:
        touched = [Range("zeroed", pointer, size, True)]
        self._enqueue("zero", stream, lambda: ctypes.memset(pointer, 0, size), touched)

    def copy(self, target: int, source: int, size: int, stream: Stream) -> None:
        touched = [Range("the source", source, size), Range("the target", target, size, True)]
        if touched[0].overlaps(touched[1]):
            raise FakeGpuError(f"copy: source and target of {size} bytes overlap")
        self._enqueue("copy", stream, lambda: ctypes.memmove(target, source, size), touched)

    # ---- Driver: the host.

    def to_host(self, pointer: int, size: int, stream: Stream) -> bytes:
        self._check_host_may_wait("to_host")
        copied = bytearray()
        touched = [Range("copied", pointer, size)]
        self._enqueue("to_host", stream, lambda: copied.extend(ctypes.string_at(pointer, size)), touched)
        self._host_waits(self.order.mark(stream.handle))
        return bytes(copied)

    def host_memory(self, size: int) -> NDArray[np.uint8]:
        self._check_host_may_wait("host_memory")
        if size <= 0:
            raise FakeGpuError(f"{size} bytes of the host's memory")
        with self._lock:
            return page_locked(self.blocks, size, self._device())

    def copy_in(self, pointer: int, values: NDArray[Any], stream: Stream) -> None:
        source, target = bytes_of(values), Range("the target", pointer, values.nbytes, True)
        if self._is_page_locked(source, "copy_in"):
            address = source.ctypes.data
            touched = [Range("the source", address, source.nbytes, host=True), target]
            self._enqueue("copy_in", stream, lambda: ctypes.memmove(pointer, address, target.size), touched)
        else:
            staged = source.tobytes()
            self._enqueue("copy_in", stream, lambda: ctypes.memmove(pointer, staged, target.size), [target])

    def copy_out(self, values: NDArray[Any], pointer: int, stream: Stream) -> None:
        target, source = bytes_of(values, filled=True), Range("the source", pointer, values.nbytes)
        address = target.ctypes.data
        is_page_locked = self._is_page_locked(target, "copy_out")
        if not is_page_locked:
            self._check_host_may_wait("copy_out")
        touched = [source, Range("the target", address, source.size, True, host=True)] if is_page_locked else [source]
        self._enqueue("copy_out", stream, lambda: ctypes.memmove(address, pointer, source.size), touched)
        if not is_page_locked:
            self._host_waits(self.order.mark(stream.handle))

    def _is_page_locked(self, values: NDArray[np.uint8], text: str) -> bool:
        block = self.blocks.find(values.ctypes.data, values.nbytes)
        if block is None and not self.pageable:
            raise FakeGpuError(
                f"{text}: the host's array is not of host_memory, so the copy would wait; a test that means it says "
                "FakeDriver(pageable=True)"
            )
        return block is not None
