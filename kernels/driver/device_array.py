"""Arrays in device memory, which other libraries can import without a copy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.kernels.driver import dlpack
from latentloop.kernels.driver.device_memory import DeviceMemory
from latentloop.kernels.driver.stream import as_stream
from latentloop.kernels.element_types import ElementType


class DeviceArray:
    """A row-major array in device memory. The memory lives as long as the array, or an array that imported it.

    ``torch.from_dlpack``, ``cupy.from_dlpack`` and consumers of ``__cuda_array_interface__`` import it without a copy.
    Both protocols make the consumer's stream wait for the work that fills the array. The memory is freed in the order
    of the stream that it was allocated on: before the last reference goes, work of other streams must have completed,
    or that stream must wait for it.
    """

    def __init__(self, memory: DeviceMemory, shape: tuple[int, ...], dtype: ElementType) -> None:
        self.shape = shape
        self._memory, self._dtype = memory, dtype

    def __repr__(self) -> str:
        return f"<DeviceArray: {self.dtype} {list(self.shape)} on cuda:{self.device}>"

    @property
    def dtype(self) -> str:
        """The type's name: int64, float32, float16 or bfloat16."""
        return self._dtype.name

    @property
    def pointer(self) -> int:
        """The device address; 0 for an empty array."""
        return self._memory.pointer

    @property
    def device(self) -> int:
        """The device's number."""
        return self._memory.device

    def numpy(self) -> NDArray[Any]:
        """Returns a copy in host memory; bfloat16 becomes float32. Waits for the work that fills the array."""
        memory = self._memory
        data = b""
        if memory.size:
            with memory.driver.use(memory.device):
                data = memory.driver.to_host(memory.pointer, memory.size, memory.stream)
        return self._dtype.values(np.frombuffer(data, self._dtype.numpy).reshape(self.shape)).copy()

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Version 3. Raises AttributeError for bfloat16, which the interface does not support."""
        if self._dtype.typestr is None:
            raise AttributeError("the CUDA array interface has no bfloat16: import the array through DLPack")
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
        """Returns a capsule. Later work on ``stream`` waits for the array.

        None and 1 are the legacy default stream; -1: no wait. Raises BufferError if a copy or another device is
        requested, and ValueError for stream 0.
        """
        if copy:
            raise BufferError("DLPack: a copy was requested, which is not supported: copy the imported array instead")
        if dl_device is not None and tuple(map(int, dl_device)) != self.__dlpack_device__():
            raise BufferError(f"DLPack: device {tuple(dl_device)} was requested, the array is on cuda:{self.device}")
        if stream == 0:
            raise ValueError("DLPack: stream 0 is ambiguous: expected 1 (legacy default) or 2 (per-thread default)")
        memory = self._memory
        consumer = as_stream(stream) if stream != -1 else memory.stream
        if consumer != memory.stream and memory.size:
            with memory.driver.use(memory.device):
                memory.driver.wait(consumer, memory.driver.record(memory.stream))
        return dlpack.export(self, self.pointer, self.shape, self._dtype, self.device)
