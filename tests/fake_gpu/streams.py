"""Streams of the GPU that the host plays: what they are given is kept in order, checked, or captured."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fake_gpu.capture import Captured, CapturedMark
from fake_gpu.host import watch
from fake_gpu.memory import Blocks, Range
from fake_gpu.order import Clock, FakeGpuError, Order, Run
from latentloop.kernels.driver.driver import MissingGpuError
from latentloop.kernels.driver.stream import LEGACY, Stream

FIRST_HANDLE = 0x7000_0000


class _Life:
    """A stream's life."""


class _Thread(threading.local):
    """What a thread has made current, and whether it is capturing."""

    def __init__(self) -> None:
        self.devices: list[int] = []
        self.captures = False


class FakeStreams:
    """The part of a Driver that is about devices and the order of work."""

    def __init__(self, seed: int, devices: int, captures: bool) -> None:
        self.device_count, self.captures = devices, captures
        self.order = Order(seed)
        self.blocks = Blocks()
        self.launched: list[str] = []  # kernels, engines and replays
        self._lives: dict[int, weakref.ref[_Life]] = {}  # of its own streams
        self._captures: dict[int, Captured] = {}  # under way, by stream
        self._thread = _Thread()
        self._lock = threading.RLock()

    def enqueue(self, text: str, stream: Stream, run: Run, touched: Sequence[Range]) -> None:
        """Work like a kernel's: ``run`` is called when it is done, and may use the memory ``touched`` by address."""
        self.launched.append(text)
        self._enqueue(text, stream, run, touched)

    def is_capturing(self, stream: Stream) -> bool:
        return stream.handle in self._captures

    def spoil_capture(self, stream: Stream) -> None:
        """As a call does that CUDA does not permit in a capture: its end is an error."""
        self._captures[stream.handle].is_spoilt = True

    # ---- Driver.

    @contextmanager
    def use(self, device: int) -> Iterator[None]:
        if not 0 <= device < self.device_count:
            raise FakeGpuError(f"device {device} of {self.device_count}")
        self._thread.devices.append(device)
        try:
            yield
        finally:
            self._thread.devices.pop()

    def context(self) -> int:
        """One a device."""
        return 1 + self._device()

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
