"""The CUDA context of a sampler, and the conversion of driver errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from latentloop.backends.bundle_errors import bundle_errors
from latentloop.errors import DeviceError, InputError
from latentloop.kernels.driver import Driver, DriverError


@contextmanager
def device_errors(number: int) -> Iterator[None]:
    """Converts errors of the driver to DeviceError, which names the GPU."""
    try:
        yield
    except DriverError as error:
        raise DeviceError(f"GPU {number}: {error}") from error


class DeviceContext:
    """The CUDA context of a GPU in which a sampler allocates its memory.

    It is the context of the GPU that is current when this object is created, otherwise the primary context.
    """

    def __init__(self, driver: Driver, number: int) -> None:
        self.driver, self.number = driver, number
        with driver.use(number):
            self._context = driver.context()

    @contextmanager
    def current(self) -> Iterator[None]:
        """Makes the GPU current for the block.

        Raises InputError if another context of the GPU is current, because the sampler's memory cannot be used there,
        and DeviceError if a call of the driver fails in the block.
        """
        with device_errors(self.number), self.driver.use(self.number):
            if self.driver.context() != self._context:
                raise InputError(
                    f"this sampler was created in another CUDA context of GPU {self.number}: make that context "
                    "current, or create a sampler in this one"
                )
            yield

    @contextmanager
    def bundle_errors(self, bundle: Path, part: str) -> Iterator[None]:
        """Like ``current``, but converts any other error to BundleError, as ``backends.bundle_errors`` does."""
        with self.current(), bundle_errors(bundle, part, passing=(DriverError,)):
            yield
