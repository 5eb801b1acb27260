"""Streams of the simulated GPU: work is scheduled, checked and captured."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fake_gpu.accesses import Access
from fake_gpu.allocations import Allocations
from fake_gpu.capture import CapturedEvent, CapturedWork
from fake_gpu.page_locked import watch_copy
from fake_gpu.scheduler import Clock, FakeGpuError, Run, Scheduler
from latentloop.kernels.driver.driver import MissingGpuError
from latentloop.kernels.driver.stream import LEGACY, Stream

FIRST_HANDLE = 0x7000_0000


class _StreamOwner:
    """The owner of a stream: the stream is destroyed when the last reference to it is deleted."""


class _Thread(threading.local):
    """A thread's current devices, and whether the thread is capturing."""

    def __init__(self) -> None:
        self.devices: list[int] = []
        self.captures = False


class FakeStreams:
    """The part of FakeDriver for devices, streams, events and captures."""

    def __init__(self, seed: int, devices: int, captures: bool) -> None:
        self.device_count, self.can_capture = devices, captures
        self.scheduler = Scheduler(seed)
        self.allocations = Allocations()
        self.launched: list[str] = []  # kernels, engines and replays
        self._owners: dict[int, weakref.ref[_StreamOwner]] = {}  # of the streams made here
        self._captures: dict[int, CapturedWork] = {}  # in progress, by stream
        self._thread = _Thread()
        self._lock = threading.RLock()

    def enqueue(self, text: str, stream: Stream, run: Run, accesses: Sequence[Access]) -> None:
        """Enqueues work like a kernel's. ``run`` executes it; it may use the memory of ``accesses`` by address."""
        self.launched.append(text)
        self._enqueue(text, stream, run, accesses)

    def is_capturing(self, stream: Stream) -> bool:
        return stream.handle in self._captures

    def invalidate_capture(self, stream: Stream) -> None:
        """Makes the end of the stream's capture an error, as CUDA does after a call that a capture does not permit."""
        self._captures[stream.handle].is_invalidated = True

    # ---- The methods of Driver.

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
        """Returns the number of the current device's only context."""
        return 1 + self._device()

    def record(self, stream: Stream) -> Any:
        self._device()
        self._check_alive(stream)
        if self.is_capturing(stream):
            return CapturedEvent(self._captures[stream.handle])
        return self.scheduler.record(stream.handle)

    def wait(self, stream: Stream, event: Any) -> None:
        self._device()
        self._check_alive(stream)
        if isinstance(event, CapturedEvent):
            if self._captures.get(stream.handle) is not event.captured:
                raise FakeGpuError("wait: the event was recorded in a capture to which the stream does not belong")
        elif self.is_capturing(stream):
            raise FakeGpuError("wait: the stream is being captured, and the event was recorded outside the capture")
        else:
            self.scheduler.wait(stream.handle, event)

    def synchronize(self, event: Any) -> None:
        self._device()
        self._check_host_may_wait("synchronize")
        if isinstance(event, CapturedEvent):
            raise FakeGpuError("synchronize: the event was recorded in a capture")
        self._host_waits(event)

    def stream(self) -> Stream:
        self._device()
        owner = _StreamOwner()
        handle = FIRST_HANDLE + len(self._owners)
        self._owners[handle] = weakref.ref(owner)
        return Stream(handle, owner)

    @contextmanager
    def capture(self, stream: Stream) -> Iterator[CapturedWork]:
        if not self.can_capture:
            raise MissingGpuError("this driver has no captures, which cuda-python has")
        self._check_alive(stream)
        if self._thread.captures or self.is_capturing(stream):
            raise FakeGpuError("capture: another capture has not ended")
        if stream == LEGACY:
            raise FakeGpuError("capture: the legacy default stream cannot be captured")
        captured = self._captures[stream.handle] = CapturedWork(self._device())
        self._thread.captures = True
        try:
            yield captured
        finally:
            del self._captures[stream.handle]
            self._thread.captures = False
        if captured.is_invalidated:
            raise FakeGpuError("capture: invalidated by a call that a capture does not permit")
        captured.end()

    def replay(self, captured: CapturedWork, stream: Stream) -> None:
        if captured.accesses is None:
            raise FakeGpuError("replay: the capture has not ended, or failed")
        if captured.device != self._device():
            raise FakeGpuError(f"replay: captured on device {captured.device}, current is {self._device()}")
        if self.is_capturing(stream):
            raise FakeGpuError("replay: the stream is being captured")
        self.enqueue("replay", stream, captured.run, captured.accesses)

    # ---- For FakeDriver.

    def _device(self) -> int:
        if not self._thread.devices:
            raise FakeGpuError("no device is current")
        return self._thread.devices[-1]

    def _enqueue(self, text: str, stream: Stream, run: Run, accesses: Sequence[Access]) -> None:
        device = self._device()
        self._check_alive(stream)
        if self.is_capturing(stream):
            for access in accesses:
                self.allocations.locate(text, access, device)
            self._captures[stream.handle].parts.append((run, accesses))
            return
        with self._lock:
            checks = [
                watch_copy(text, access, accesses, self.allocations, self.scheduler, device)
                for access in accesses
                if access.host
            ]
            work = self.scheduler.next(stream.handle, text)
            self.allocations.access(work, accesses, device)
            self.scheduler.add(work, lambda: [call() for call in (*checks, run)])

    def _host_waits(self, event: Clock) -> None:
        with self._lock:
            self.scheduler.host_waits(event)

    def _check_alive(self, stream: Stream) -> None:
        owner = self._owners.get(stream.handle)
        if owner is not None and owner() is None:
            raise FakeGpuError(f"stream {stream.handle:#x} was destroyed: its owner has no references any more")

    def _check_not_captured(self, text: str, stream: Stream) -> None:
        if self.is_capturing(stream):
            raise FakeGpuError(f"{text}: the stream is being captured")

    def _check_host_may_wait(self, text: str) -> None:
        if self._thread.captures:
            raise FakeGpuError(f"{text}: not permitted during a capture")
