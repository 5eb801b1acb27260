"""Selection of the package that drives the GPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from latentloop.kernels.driver.driver import Driver, MissingGpuError
from latentloop.kernels.driver.with_cuda_python import CudaPython
from latentloop.kernels.driver.with_pycuda import Pycuda

# In order of preference: cuda-python accepts the streams of all libraries.
_DRIVERS: dict[str, Callable[[], Driver]] = {"cuda-python": CudaPython, "pycuda": Pycuda}


@cache  # a driver caches loaded modules, and loading takes milliseconds
def open_driver(name: str | None = None) -> Driver:
    """Returns the driver ``name`` ("cuda-python" or "pycuda"), or by default the first that works.

    Raises MissingGpuError, with the reason for each, if no driver works, and ValueError for an unknown name.
    """
    if name is not None and name not in _DRIVERS:
        raise ValueError(f"driver is {name!r}, expected {' or '.join(map(repr, _DRIVERS))}")
    reasons = []
    for candidate in [name] if name else _DRIVERS:
        try:
            return _DRIVERS[candidate]()
        except MissingGpuError as error:
            reasons.append(f"{candidate}: {error}")
    raise MissingGpuError("no installed package can drive a GPU. " + "; ".join(reasons))
