"""A GPU, and the CUDA context in which one sampler's memory lies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from latentloop.backends.bundle_errors import bundle_errors
from latentloop.errors import DeviceError, InputError
from latentloop.kernels.driver import Driver, DriverError


@contextmanager
def device_errors(number: int) -> Iterator[None]:
    """Raises DeviceError, which names the GPU, where a call of the driver fails meanwhile."""
    try:
        yield
    except DriverError as error:
        raise DeviceError(f"GPU {number}: {error}") from error


class DeviceContext:
    """The caller's context where one of that GPU is current when this is made, else the GPU's primary one."""

    def __init__(self, driver: Driver, number: int) -> None:
        self.driver, self.number = driver, number
        with driver.use(number):
            self._context = driver.context()

    @contextmanager
    def current(self) -> Iterator[None]:
        """For a while. Raises InputError where that would be another context, which cannot see the memory; DeviceError
        where a call of the driver fails meanwhile.
        """
        with device_errors(self.number), self.driver.use(self.number):
            if self.driver.context() != self._context:
                raise InputError(
                    f"this sampler was made in another CUDA context of GPU {self.number}: make that one current, or "
                    "make the sampler anew in this one"
                )
            yield

    @contextmanager
    def bundle_errors(self, bundle: Path, what: str) -> Iterator[None]:
        """The same, where whatever else fails is the bundle's fault; see there."""
        with self.current(), bundle_errors(bundle, what, (DriverError,)):
            yield
