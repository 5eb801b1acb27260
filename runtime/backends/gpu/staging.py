"""Page-locked memory of the host between NumPy arrays and the device."""

from __future__ import annotations

import weakref
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.backends.gpu.device_graph import Tensor
from latentloop.kernels.driver import Driver, DriverError, Stream

Buffer = NDArray[np.uint8]
Pool = dict[int, list[Buffer]]  # unused buffers by their size


class Staging:
    """Copies in the order of one stream, whose buffers go back to the pool once they are ``over``.

    Where an error leaves it before that, its buffers stay until its copies are done.
    """

    def __init__(self, driver: Driver, number: int, stream: Stream, pool: Pool) -> None:
        """``number`` of the GPU."""
        self._driver, self.stream, self._free = driver, stream, pool
        self._busy: list[Buffer] = []
        self._left = weakref.finalize(self, settle, driver, number, stream, self._busy)
        self._left.atexit = False  # the process's end frees everything, in no order

    def copy_in(self, tensor: Tensor, values: NDArray[Any]) -> None:
        """Enqueues a copy of values of the tensor's type and shape; the caller may change them at once."""
        values = np.ascontiguousarray(values, tensor.dtype)
        assert values.shape == tensor.shape, (values.shape, tensor.shape)
        buffer = self._buffer(values.nbytes)
        buffer[:] = values.reshape(-1).view(np.uint8)
        self._driver.copy_in(tensor.pointer, buffer, self.stream)

    def copy_out(self, tensor: Tensor) -> NDArray[Any]:
        """Enqueues a copy to the host: the values are there once a later event has been waited for, until ``over``."""
        buffer = self._buffer(tensor.size)
        self._driver.copy_out(buffer, tensor.pointer, self.stream)
        found: NDArray[Any] = buffer.view(tensor.dtype).reshape(tensor.shape)
        return found

    def release(self) -> None:
        """To be called when all work so far has been waited for, and no array of ``copy_out`` is looked at any more."""
        for buffer in self._busy:
            self._free.setdefault(buffer.nbytes, []).append(buffer)
        self._busy.clear()
        self._left.detach()

    def _buffer(self, size: int) -> Buffer:
        free = self._free.get(size)
        buffer = free.pop() if free else self._driver.host_memory(size)
        self._busy.append(buffer)
        return buffer


def settle(driver: Driver, number: int, stream: Stream, _kept: object = None) -> None:
    """Waits for a stream before something that its work uses goes; where even that fails, no work runs any more."""
    with suppress(DriverError), driver.use(number):
        driver.synchronize(driver.record(stream))
