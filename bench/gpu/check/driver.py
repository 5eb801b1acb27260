"""Every package that drives a GPU against what a Driver must do."""

from __future__ import annotations

from importlib import import_module

from latentloop.bench.gpu.check.part import Findings
from latentloop.kernels.driver import Driver, MissingGpuError, open_driver

DRIVERS = ("cuda-python", "pycuda")
COPIED = 2**24  # bytes: some milliseconds for a GPU, so that a host that does not wait is seen


def run(findings: Findings) -> None:
    """The part; needs the folder ``tests`` on Python's path."""
    for name in DRIVERS:
        try:
            driver = open_driver(name)
        except MissingGpuError as error:
            findings.missing(name, str(error))
            continue
        check_driver(findings, driver, COPIED)


def check_driver(findings: Findings, driver: Driver, copied: int) -> None:
    """All checks, each for itself; ``copied`` bytes at a time."""
    for check in import_module("driver_conformance").checks_of(driver):
        name = f"{driver.name}: {check.__name__.removeprefix('check_').replace('_', ' ')}"
        try:
            check(driver, copied)
        except Exception as error:  # an assertion, or what the driver does instead
            findings.check(name, False, error=f"{type(error).__name__}: {error}")
        else:
            findings.check(name, True)
