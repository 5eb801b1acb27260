"""Importing a package that drives GPUs, and starting its driver."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from latentloop.kernels.driver.driver import MissingGpuError


def import_driver(module: str, remedy: str) -> Any:
    """Returns the module. Raises MissingGpuError, with the remedy if the package is not installed."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise MissingGpuError(f"{error} ({remedy})") from error
    except Exception as error:  # a broken installation may raise anything
        raise MissingGpuError(f"the installation is broken: {type(error).__name__}: {error}") from error


def start_driver(start: Callable[[], object], devices: Callable[[], int], error_type: type[Exception]) -> None:
    """Starts the driver. Raises MissingGpuError for errors of ``error_type``, and if there is no GPU."""
    try:
        start()
        count = devices()
    except error_type as error:
        raise MissingGpuError(" ".join(str(error).split())) from error
    if not count:
        raise MissingGpuError("the NVIDIA driver finds no GPU")
