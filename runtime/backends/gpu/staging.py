"""Copies between NumPy arrays and the device, through page-locked host memory."""

from __future__ import annotations

import weakref
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.backends.gpu.device_graph import Tensor
from latentloop.kernels.driver import Driver, DriverError, Stream

HostBuffer = NDArray[np.uint8]  # page-locked
Pool = dict[int, list[HostBuffer]]  # unused buffers by size in bytes: powers of two

SMALLEST = 4096  # bytes


class Staging:
    """Copies in the order of one stream, through buffers of a pool.

    ``release`` returns the buffers to the pool. If an error prevents that call, the stream is waited for before the
    buffers are freed.
    """

    def __init__(self, driver: Driver, number: int, stream: Stream, pool: Pool) -> None:
        """``number`` is that of the GPU."""
        self._driver, self.stream, self._pool = driver, stream, pool
        self._in_use: list[HostBuffer] = []
        self._finalizer = weakref.finalize(self, wait_for_stream, driver, number, stream, self._in_use)
        self._finalizer.atexit = False  # the end of the process frees everything, in any order

    def copy_in(self, tensor: Tensor, values: NDArray[Any]) -> None:
        """Enqueues a copy to the device. ``values`` has the tensor's shape, and may be changed afterwards."""
        values = np.ascontiguousarray(values, tensor.dtype)
        assert values.shape == tensor.shape, (values.shape, tensor.shape)
        buffer = self._buffer(values.nbytes)
        buffer[:] = values.reshape(-1).view(np.uint8)
        self._driver.copy_in(tensor.pointer, buffer, self.stream)

    def copy_out(self, tensor: Tensor) -> NDArray[Any]:
        """Enqueues a copy to the host. The returned array has the values once an event recorded after this call has
        been waited for, and is valid until ``release``.
        """
        buffer = self._buffer(tensor.size)
        self._driver.copy_out(buffer, tensor.pointer, self.stream)
        values: NDArray[Any] = buffer.view(tensor.dtype).reshape(tensor.shape)
        return values

    def release(self) -> None:
        """Returns the buffers to the pool. All copies must be finished; arrays of ``copy_out`` become invalid."""
        for buffer in self._in_use:
            self._pool.setdefault(buffer.nbytes, []).append(buffer)
        self._in_use.clear()
        self._finalizer.detach()

    def _buffer(self, size: int) -> HostBuffer:
        capacity = max(SMALLEST, 1 << (size - 1).bit_length())  # few sizes, so that other batch sizes use them again
        unused = self._pool.get(capacity)
        buffer = unused.pop() if unused else self._driver.host_memory(capacity)
        self._in_use.append(buffer)
        return buffer[:size]


def wait_for_stream(driver: Driver, number: int, stream: Stream, _buffers: object = None) -> None:
    """Waits for the work of a stream, before an object that the work uses is destroyed.

    Errors are ignored: if waiting fails, no work runs any more. ``_buffers`` keeps buffers alive while it waits.
    """
    with suppress(DriverError), driver.use(number):
        driver.synchronize(driver.record(stream))
