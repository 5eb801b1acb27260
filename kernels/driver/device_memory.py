"""Device memory that is freed automatically."""

from __future__ import annotations

import weakref
from typing import Any

from latentloop.kernels.driver.driver import Driver
from latentloop.kernels.driver.stream import Stream


class DeviceMemory:
    """``size`` bytes of a device, freed in the order of ``stream`` when the last reference is gone.

    Call ``record_stream`` for every other stream whose work uses the memory.
    """

    def __init__(self, driver: Driver, device: int, size: int, stream: Stream) -> None:
        self.driver, self.device, self.size, self.stream = driver, device, size, stream
        self._events: dict[Stream, Any] = {}
        with driver.use(device):
            self.pointer = driver.allocate(size, stream) if size else 0
        if size:
            free = weakref.finalize(self, _free, driver, device, self.pointer, stream, self._events)
            free.atexit = False  # at process exit CUDA frees everything, and the driver may already be gone

    def record_stream(self, stream: Stream) -> None:
        """Keeps the memory allocated until the work that is already enqueued on another stream has completed."""
        if stream != self.stream and self.size:
            with self.driver.use(self.device):
                self._events[stream] = self.driver.record(stream)


def _free(driver: Driver, device: int, pointer: int, stream: Stream, events: dict[Stream, Any]) -> None:
    with driver.use(device):
        for event in events.values():
            driver.wait(stream, event)
        driver.free(pointer, stream)
