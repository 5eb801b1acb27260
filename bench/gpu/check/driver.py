"""The part of the check that tests every driver package against the conformance checks of a Driver."""

from __future__ import annotations

from latentloop.bench.gpu.check.findings import Findings
from latentloop.bench.gpu.conformance.driver_checks import checks_of
from latentloop.kernels.driver import Driver, MissingGpuError, open_driver

DRIVERS = ("cuda-python", "pycuda")
COPIED = 2**24  # bytes: a copy takes some milliseconds, so that a missing wait of the host is noticed


def check_drivers(findings: Findings) -> None:
    """Checks every driver that opens here."""
    for name in DRIVERS:
        try:
            driver = open_driver(name)
        except MissingGpuError as error:
            findings.missing(name, str(error))
            continue
        check_driver(findings, driver, COPIED)


def check_driver(findings: Findings, driver: Driver, copied: int) -> None:
    """Runs all checks with copies of ``copied`` bytes; a failed check does not stop the others."""
    for check in checks_of(driver):
        name = f"{driver.name}: {check.__name__.removeprefix('check_').replace('_', ' ')}"
        try:
            check(driver, copied)
        except Exception as error:  # AssertionError, or an error of the driver
            findings.check(name, False, error=f"{type(error).__name__}: {error}")
        else:
            findings.check(name, True)
