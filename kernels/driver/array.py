"""Arrays that kernels made, for any library to adopt without a copy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.kernels.driver import dlpack
from latentloop.kernels.driver.datatype import BFLOAT16, DataType
from latentloop.kernels.driver.memory import Memory
from latentloop.kernels.driver.stream import as_stream


class DeviceArray:
    """A row-major array in a device's memory, which lives as long as the array or what adopted it.

    ``torch.from_dlpack``, ``cupy.from_dlpack`` and whatever reads ``__cuda_array_interface__`` take it as it is; both
    order the taker's stream after the work that fills it. The memory returns in the order of the stream that it was
    made on: work of other streams is to be over, or waited for there, before the array goes.
    """

    def __init__(self, memory: Memory, shape: tuple[int, ...], dtype: DataType) -> None:
        self.shape = shape
        self._memory, self._dtype = memory, dtype

    @property
    def dtype(self) -> str:
        """The type's name: int64, float32, float16 or bfloat16."""
        return self._dtype.name

    @property
    def pointer(self) -> int:
        """The address on the device; 0 of an array without values."""
        return self._memory.pointer

    @property
    def device(self) -> int:
        """The device's number."""
        return self._memory.device

    def numpy(self) -> NDArray[Any]:
        """A copy on the host; bfloat16 becomes float32. Waits for the work that fills the array."""
        memory = self._memory
        data = b""
        if memory.size:
            with memory.driver.use(memory.device):
                data = memory.driver.to_host(memory.pointer, memory.size, memory.stream)
        values = np.frombuffer(data, self._dtype.numpy).reshape(self.shape)
        return (values.astype(np.uint32) << 16).view(np.float32) if self._dtype is BFLOAT16 else values.copy()

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Version 3. Raises AttributeError for bfloat16, for which it has no word."""
        if self._dtype.typestr is None:
            raise AttributeError("the CUDA array interface has no bfloat16: adopt the array through DLPack")
        return {
            "shape": self.shape,
            "typestr": self._dtype.typestr,
            "data": (self.pointer, False),
            "strides": None,
            "version": 3,
            "stream": self._memory.stream.handle,
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return dlpack.CUDA, self.device

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """A capsule; ``stream``'s further work waits for the array (None and 1: the legacy default stream; -1: nothing
        waits). Raises BufferError for a copy or another device, and ValueError for a stream of 0.
        """
        if copy:
            raise BufferError("DLPack: a copy was asked for; copy the adopted array instead")
        if dl_device is not None and tuple(map(int, dl_device)) != self.__dlpack_device__():
            raise BufferError(f"DLPack: device {tuple(dl_device)} was asked for, the array is on cuda:{self.device}")
        if stream == 0:
            raise ValueError("DLPack: stream 0 is ambiguous: 1 is the legacy default stream, 2 the thread's own")
        memory = self._memory
        taker = as_stream(stream) if stream != -1 else memory.stream
        if taker != memory.stream and memory.size:
            with memory.driver.use(memory.device):
                memory.driver.wait(taker, memory.driver.record(memory.stream))
        return dlpack.export(self, self.pointer, self.shape, self._dtype, self.device)
