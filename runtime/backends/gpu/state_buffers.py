"""A loop's memories on a device, and the views that bindings are of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from latentloop.backends.gpu.device_graph import SIZES, Tensor
from latentloop.backends.gpu.staging import Staging
from latentloop.bundles.manifest import Binding, StateBuffer
from latentloop.bundles.views import buffer_shape, view_index, view_span
from latentloop.kernels.driver import DeviceMemory, Driver, Stream


class DeviceStateBuffers:
    """The memories of one prior for one batch size. The device is current while methods are called."""

    def __init__(
        self, described: Sequence[StateBuffer], batch: int, driver: Driver, device: int, staging: Staging
    ) -> None:
        """Every memory begins with its fill: a graph may read what no step has written yet, behind a mask."""
        self._driver, self._stream = driver, staging.stream
        self._described = {memory.name: memory for memory in described}
        self._shapes = {memory.name: buffer_shape(memory, batch) for memory in described}
        self._kept: list[DeviceMemory] = []
        self._whole: dict[str, Tensor] = {}
        self._fills: dict[str, Tensor] = {}  # of rings that do not begin with zeros
        for memory in described:
            self._whole[memory.name] = self.allocate(memory.dtype, self._shapes[memory.name], device)
            if memory.fill:
                values = np.full(self._shapes[memory.name], memory.fill, memory.dtype)
                staging.copy_in(self._whole[memory.name], values)
                if memory.ring:
                    self._fills[memory.name] = self.allocate(memory.dtype, values.shape, device)
                    staging.copy_in(self._fills[memory.name], values)
            else:
                self._zero(self._whole[memory.name])

    def __contains__(self, name: str) -> bool:
        return name in self._whole

    def __getitem__(self, name: str) -> Tensor:
        """The whole memory."""
        return self._whole[name]

    def allocate(self, dtype: str, shape: tuple[int, ...], device: int) -> Tensor:
        """More memory, which lives as long as this."""
        return allocate(self._kept, self._driver, device, self._stream, dtype, shape)

    def view(self, binding: Binding, i: int, j: int) -> Tensor:
        """The part of a memory that a binding means at row i and column j. The history is always bound whole."""
        memory = self._described[binding.memory]
        index = () if binding.view == "entries" else view_index(binding, memory, i, j)
        return part(self._whole[binding.memory], *view_span(index, self._shapes[binding.memory]))

    def clear_rings(self) -> None:
        """Every ring as before the first row."""
        for name, memory in self._described.items():
            if memory.ring:
                whole = self._whole[name]
                if name in self._fills:
                    self.copy(whole, self._fills[name])
                else:
                    self._zero(whole)

    def copy(self, target: Tensor, source: Tensor) -> None:
        """Within the device."""
        self._driver.copy(target.pointer, source.pointer, target.size, self._stream)

    def _zero(self, tensor: Tensor) -> None:
        self._driver.zero(tensor.pointer, tensor.size, self._stream)


def allocate(
    kept: list[DeviceMemory], driver: Driver, device: int, stream: Stream, dtype: str, shape: tuple[int, ...]
) -> Tensor:
    """A new tensor of a stream, which lives as long as what is added to ``kept``."""
    kept.append(DeviceMemory(driver, device, math.prod(shape) * SIZES[dtype], stream))
    return Tensor(kept[-1].pointer, dtype, shape)


def part(tensor: Tensor, first: int, shape: tuple[int, ...]) -> Tensor:
    """The contiguous part of a tensor that begins at value ``first``."""
    return Tensor(tensor.pointer + first * SIZES[tensor.dtype], tensor.dtype, shape)


def entry(tensor: Tensor, i: int) -> Tensor:
    """tensor[i]."""
    return part(tensor, i * math.prod(tensor.shape[1:]), tensor.shape[1:])
