"""Device memory with an owner."""

from __future__ import annotations

import weakref
from typing import Any

from latentloop.kernels.driver.driver import Driver
from latentloop.kernels.driver.stream import Stream


class Memory:
    """``size`` bytes of a device, given back in the order of ``stream`` when nothing refers to them any more.

    Work of another stream that uses them must be told with ``used_on``.
    """

    def __init__(self, driver: Driver, device: int, size: int, stream: Stream) -> None:
        self.driver, self.device, self.size, self.stream = driver, device, size, stream
        self._marks: dict[Stream, Any] = {}
        with driver.use(device):
            self.pointer = driver.allocate(size, stream) if size else 0
        if size:
            free = weakref.finalize(self, _free, driver, device, self.pointer, stream, self._marks)
            free.atexit = False  # the process's end frees everything, in no order

    def used_on(self, stream: Stream) -> None:
        """Call after enqueueing work that uses the memory: it stays until that is done."""
        if stream != self.stream and self.size:
            with self.driver.use(self.device):
                self._marks[stream] = self.driver.record(stream)


def _free(driver: Driver, device: int, pointer: int, stream: Stream, marks: dict[Stream, Any]) -> None:
    with driver.use(device):
        for mark in marks.values():
            driver.wait(stream, mark)
        driver.free(pointer, stream)
