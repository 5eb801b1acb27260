"""Which package drives the GPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from latentloop.kernels.driver.driver import Driver, MissingGpuError
from latentloop.kernels.driver.with_cuda_python import CudaPython
from latentloop.kernels.driver.with_pycuda import Pycuda

# cuda-python first: it takes streams of every library.
_DRIVERS: dict[str, Callable[[], Driver]] = {"cuda-python": CudaPython, "pycuda": Pycuda}


@cache  # a driver holds loaded modules, and loading takes milliseconds
def open_driver(name: str | None = None) -> Driver:
    """The driver of that name, cuda-python or pycuda, or else the first that works.

    Raises MissingGpuError, with the reason for each, where none does; ValueError for another name.
    """
    if name is not None and name not in _DRIVERS:
        raise ValueError(f"driver is {name!r}, expected {' or '.join(map(repr, _DRIVERS))}")
    reasons = []
    for candidate in [name] if name else _DRIVERS:
        try:
            return _DRIVERS[candidate]()
        except MissingGpuError as error:
            reasons.append(f"{candidate}: {error}")
    raise MissingGpuError("no package here can drive a GPU. " + "; ".join(reasons))
