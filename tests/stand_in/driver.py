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
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.kernels.driver.host import bytes_of
from latentloop.kernels.driver.protocol import MissingGpuError
from latentloop.kernels.driver.stream import LEGACY, Stream
from latentloop.kernels.nearest_codebook.launcher import IMAGE
from stand_in import nearest_kernels
from stand_in.capture import Captured, CapturedMark
from stand_in.host import page_locked, watch
from stand_in.memory import Block, Blocks, Range
from stand_in.order import Clock, FakeGpuError, Order, Run

__all__ = ["FakeDriver", "FakeGpuError", "Range"]

FIRST_HANDLE = 0x7000_0000


class _Life:
    """A stream's life."""


class _Thread(threading.local):
    """What a thread has made current, and whether it is capturing."""

    def __init__(self) -> None:
        self.devices: list[int] = []
        self.captures = False


class FakeDriver:
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
        self.kernels, self.processors, self.device_count = kernels, multiprocessors, devices
        self.compute_capability, self.captures, self.pageable = capability, captures, pageable
        self.order = Order(seed)
        self.blocks = Blocks()
        self.launched: list[str] = []  # kernels, engines and replays
        self._lives: dict[int, weakref.ref[_Life]] = {}  # of its own streams
        self._captures: dict[int, Captured] = {}  # under way, by stream
        self._thread = _Thread()
        self._lock = threading.RLock()

    @property
    def name(self) -> str:
        return "fake"

    # ---- For tests, and for libraries that use the GPU.

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

    def enqueue(self, text: str, stream: Stream, run: Run, touched: Sequence[Range]) -> None:
        """Work like a kernel's: ``run`` is called when it is done, and may use the memory ``touched`` by address."""
        self.launched.append(text)
        self._enqueue(text, stream, run, touched)

    def reserve(self, size: int) -> int:
        """Memory of a library's own on the current device; ``release`` ends its use at once."""
        with self._lock:
            return self.blocks.add(Block(size, self._device())).pointer

    def release(self, pointer: int) -> None:
        block = self.blocks.find(pointer, 1)
        assert block is not None
        block.freed = True

    def is_capturing(self, stream: Stream) -> bool:
        return stream.handle in self._captures

    def spoil_capture(self, stream: Stream) -> None:
        """As a call does that CUDA does not permit in a capture: its end is an error."""
        self._captures[stream.handle].is_spoilt = True

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

    @contextmanager
    def use(self, device: int) -> Iterator[None]:
        if not 0 <= device < self.device_count:
            raise FakeGpuError(f"device {device} of {self.device_count}")
        self._thread.devices.append(device)
        try:
            yield
        finally:
            self._thread.devices.pop()

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
        touched = [source, Range("the target", address, source.size, True, host=True)] if is_page_locked else [source]
        self._enqueue("copy_out", stream, lambda: ctypes.memmove(address, pointer, source.size), touched)
        if not is_page_locked:
            self._check_host_may_wait("copy_out")
            self._host_waits(self.order.mark(stream.handle))

    # ---- Driver: order.

    def record(self, stream: Stream) -> Any:
        self._device()
        self._check_alive(stream)
        if self.is_capturing(stream):
            return CapturedMark(self._captures[stream.handle])
        return self.order.mark(stream.handle)

    def wait(self, stream: Stream, mark: Any) -> None:
        self._device()
        self._check_alive(stream)
        if isinstance(mark, CapturedMark):
            if self._captures.get(stream.handle) is not mark.captured:
                raise FakeGpuError("wait: the mark is of captured work, and the stream is not part of that capture")
        elif self.is_capturing(stream):
            raise FakeGpuError("wait: the stream is being captured, and the mark is of work that is not")
        else:
            self.order.wait(stream.handle, mark)

    def synchronize(self, mark: Any) -> None:
        self._device()
        self._check_host_may_wait("synchronize")
        if isinstance(mark, CapturedMark):
            raise FakeGpuError("synchronize: the mark is of captured work")
        self._host_waits(mark)

    def stream(self) -> Stream:
        self._device()
        life = _Life()
        handle = FIRST_HANDLE + len(self._lives)
        self._lives[handle] = weakref.ref(life)
        return Stream(handle, life)

    @contextmanager
    def capture(self, stream: Stream) -> Iterator[Captured]:
        if not self.captures:
            raise MissingGpuError("this driver has no captures, which cuda-python has")
        self._check_alive(stream)
        if self._thread.captures or self.is_capturing(stream):
            raise FakeGpuError("capture: another one has not ended")
        if stream == LEGACY:
            raise FakeGpuError("capture: the legacy default stream cannot be captured")
        captured = self._captures[stream.handle] = Captured(self._device())
        self._thread.captures = True
        try:
            yield captured
        finally:
            del self._captures[stream.handle]
            self._thread.captures = False
        if captured.is_spoilt:
            raise FakeGpuError("capture: invalidated by a call that is not permitted in one")
        captured.end()

    def replay(self, captured: Captured, stream: Stream) -> None:
        if captured.touched is None:
            raise FakeGpuError("replay: the capture has not ended, or failed")
        if captured.device != self._device():
            raise FakeGpuError(f"replay: captured on device {captured.device}, current is {self._device()}")
        if self.is_capturing(stream):
            raise FakeGpuError("replay: the stream is being captured")
        self.enqueue("replay", stream, captured.run, captured.touched)

    # ---- Within.

    def _device(self) -> int:
        if not self._thread.devices:
            raise FakeGpuError("no device is current")
        return self._thread.devices[-1]

    def _enqueue(self, text: str, stream: Stream, run: Run, touched: Sequence[Range]) -> None:
        device = self._device()
        self._check_alive(stream)
        if self.is_capturing(stream):
            for part in touched:
                self.blocks.locate(text, part, device)
            self._captures[stream.handle].parts.append((run, touched))
            return
        with self._lock:
            host = [part for part in touched if part.host]
            checks = [watch(text, part, touched, self.blocks, self.order, device) for part in host]
            work = self.order.next(stream.handle, text)
            self.blocks.touch(work, touched, device)
            self.order.add(work, lambda: [call() for call in (*checks, run)])

    def _host_waits(self, mark: Clock) -> None:
        with self._lock:
            self.order.host_waits(mark)

    def _is_page_locked(self, values: NDArray[np.uint8], text: str) -> bool:
        block = self.blocks.find(values.ctypes.data, values.nbytes)
        if block is None and not self.pageable:
            raise FakeGpuError(
                f"{text}: the host's array is not of host_memory, so the copy would wait; a test that means it says "
                "FakeDriver(pageable=True)"
            )
        return block is not None

    def _check_alive(self, stream: Stream) -> None:
        life = self._lives.get(stream.handle)
        if life is not None and life() is None:
            raise FakeGpuError(f"stream {stream.handle:#x} was destroyed: nothing refers to its owner any more")

    def _check_not_captured(self, text: str, stream: Stream) -> None:
        if self.is_capturing(stream):
            raise FakeGpuError(f"{text}: the stream is being captured")

    def _check_host_may_wait(self, text: str) -> None:
        if self._thread.captures:
            raise FakeGpuError(f"{text}: not while a stream is being captured")
