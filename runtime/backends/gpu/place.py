"""A GPU, and the CUDA context in which one sampler's memory lies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from latentloop.errors import InputError
from latentloop.kernels.driver import Driver


class Place:
    """The caller's context where one of that GPU is current when this is made, else the GPU's primary one."""

    def __init__(self, driver: Driver, number: int) -> None:
        self.driver, self.number = driver, number
        with driver.use(number):
            self._context = driver.context()

    @contextmanager
    def current(self) -> Iterator[None]:
        """For a while. Raises InputError where that would be another context, which cannot see the memory."""
        with self.driver.use(self.number):
            if self.driver.context() != self._context:
                raise InputError(
                    f"this sampler was made in another CUDA context of GPU {self.number}: make that one current, or "
                    "make the sampler anew in this one"
                )
            yield
