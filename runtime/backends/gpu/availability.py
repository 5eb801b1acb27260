"""Opens the driver of NVIDIA GPUs, with errors that say why a GPU cannot be used."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from latentloop.errors import MissingError

if TYPE_CHECKING:  # imported late: most machines have no GPU, and each import delays the first image
    from latentloop.backends.interface import Backend
    from latentloop.kernels.driver import Driver


def open_gpu() -> Driver:
    """Returns the driver. Raises MissingError if the NVIDIA driver, or a Python package that calls it, is missing."""
    try:
        ctypes.CDLL("libcuda.so.1")  # the fastest check, which fails on most machines without a GPU
    except OSError:
        raise MissingError("no NVIDIA driver here (libcuda.so.1)") from None
    from latentloop.kernels.driver import MissingGpuError, open_driver

    try:
        return open_driver()
    except MissingGpuError as error:
        raise MissingError(f'{error}: pip install "latentloop[gpu]"') from error


@contextmanager
def gpu(name: str, number: int) -> Iterator[Driver]:
    """Yields the driver, for a block that uses GPU ``number`` on behalf of the backend ``name``.

    Raises MissingError if there is no such GPU, and DeviceError if a call of the driver fails in the block.
    """
    driver = open_gpu()
    from latentloop.backends.gpu.device_context import device_errors

    with device_errors(number):
        if number >= driver.devices():
            raise MissingError(f"device {name}:{number}: there are {driver.devices()} GPUs, counted from 0")
        yield driver


def reporting_device_errors(number: int, make: Callable[[], Backend]) -> Callable[[], Backend]:
    """Returns a function that calls ``make`` and converts errors of the driver to DeviceError."""
    from latentloop.backends.gpu.device_context import device_errors

    return device_errors(number)(make)
