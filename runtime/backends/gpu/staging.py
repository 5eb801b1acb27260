"""Page-locked memory of the host between NumPy arrays and the device."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.backends.gpu.graph import Tensor
from latentloop.kernels.driver import Driver, Stream

Buffer = NDArray[np.uint8]
Pool = dict[int, list[Buffer]]  # unused buffers by their size


class Staging:
    """Copies in the order of one stream, whose buffers go back to the pool once they are ``over``."""

    def __init__(self, driver: Driver, stream: Stream, pool: Pool) -> None:
        self._driver, self.stream, self._free = driver, stream, pool
        self._busy: list[Buffer] = []

    def copy_in(self, tensor: Tensor, values: NDArray[Any]) -> None:
        """Enqueues a copy of values of the tensor's type and shape; the caller may change them at once."""
        values = np.ascontiguousarray(values, tensor.dtype)
        assert values.shape == tensor.shape, (values.shape, tensor.shape)
        buffer = self._buffer(values.nbytes)
        buffer[:] = values.reshape(-1).view(np.uint8)
        self._driver.copy_in(tensor.pointer, buffer, self.stream)

    def copy_out(self, tensor: Tensor) -> NDArray[Any]:
        """Enqueues a copy to the host: the values are there once a later mark has been waited for, until ``over``."""
        buffer = self._buffer(math.prod(tensor.shape) * np.dtype(tensor.dtype).itemsize)
        self._driver.copy_out(buffer, tensor.pointer, self.stream)
        found: NDArray[Any] = buffer.view(tensor.dtype).reshape(tensor.shape)
        return found

    def over(self) -> None:
        """To be called when all work so far has been waited for, and no array of ``copy_out`` is looked at any more."""
        for buffer in self._busy:
            self._free.setdefault(buffer.nbytes, []).append(buffer)
        self._busy.clear()

    def _buffer(self, size: int) -> Buffer:
        free = self._free.get(size)
        buffer = free.pop() if free else self._driver.host_memory(size)
        self._busy.append(buffer)
        return buffer
