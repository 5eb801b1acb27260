"""The state buffers of a loop in device memory, and the views of bindings."""

from __future__ import annotations

from collections.abc import Sequence

from latentloop.backends.gpu.device_graph import Tensor, TensorAllocator
from latentloop.backends.gpu.staging import Staging
from latentloop.bundles.manifest import Binding, StateBuffer
from latentloop.bundles.views import buffer_shape, initial_values, offset_and_shape, view_index
from latentloop.kernels.driver import Driver


class DeviceStateBuffers:
    """The state buffers of one prior for one batch size. The device must be current when methods are called."""

    def __init__(
        self, descriptions: Sequence[StateBuffer], batch: int, driver: Driver, device: int, staging: Staging
    ) -> None:
        """Fills every buffer: graphs may also read values that no step has written yet, and mask them."""
        self._driver, self._stream = driver, staging.stream
        self._allocator = TensorAllocator(driver, device, staging.stream)
        self._descriptions = {buffer.name: buffer for buffer in descriptions}
        self._tensors: dict[str, Tensor] = {}
        self._fills: dict[str, Tensor] = {}  # the initial values of rings, if these are not zero
        for name, buffer in self._descriptions.items():
            shape = buffer_shape(buffer, batch)
            tensor = self._tensors[name] = self.allocate(buffer.dtype, shape)
            if buffer.fill:
                values = initial_values(buffer, batch)
                staging.copy_in(tensor, values)
                if buffer.ring:
                    self._fills[name] = self.allocate(buffer.dtype, shape)
                    staging.copy_in(self._fills[name], values)
            else:
                self._zero(tensor)

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def __getitem__(self, name: str) -> Tensor:
        """Returns the whole buffer."""
        return self._tensors[name]

    def allocate(self, dtype: str, shape: tuple[int, ...]) -> Tensor:
        """Returns another tensor, which is freed together with the buffers."""
        return self._allocator.allocate(dtype, shape)

    def view(self, binding: Binding, i: int, j: int) -> Tensor:
        """Returns the view of a binding at row i and column j.

        For "entries" that is the whole buffer: engines need fixed shapes, and graphs do not read beyond row i.
        """
        buffer, tensor = self._descriptions[binding.memory], self._tensors[binding.memory]
        index = () if binding.view == "entries" else view_index(binding, buffer, i, j)
        return tensor.view(*offset_and_shape(index, tensor.shape))

    def clear_rings(self) -> None:
        """Resets every ring to its state before the first row."""
        for name, buffer in self._descriptions.items():
            if buffer.ring and name in self._fills:
                self.copy(self._tensors[name], self._fills[name])
            elif buffer.ring:
                self._zero(self._tensors[name])

    def copy(self, target: Tensor, source: Tensor) -> None:
        """Enqueues a copy within the device."""
        self._driver.copy(target.pointer, source.pointer, target.size, self._stream)

    def _zero(self, tensor: Tensor) -> None:
        self._driver.zero(tensor.pointer, tensor.size, self._stream)
