"""TensorRT's Python module, under either of its names: loading it, and hearing what it says."""

from __future__ import annotations

from typing import Any

from latentloop.environment.packages import import_package, is_missing, unusable


def tensorrt_module(flavour: str) -> Any | None:
    """The module of that name, or None where it is not installed. Raises MissingError where it cannot be loaded."""
    try:
        return import_package(flavour)
    except Exception as error:  # its libraries may be missing
        if is_missing(flavour, error):
            return None
        raise unusable(flavour, error) from error


def error_log(module: Any) -> Any:
    """A logger for ``module`` that keeps ``errors``, what it has said at that severity, and prints nothing."""

    def start(self: Any) -> None:
        module.ILogger.__init__(self)
        self.errors = []

    def log(self: Any, severity: Any, message: str) -> None:
        if severity in (module.ILogger.Severity.INTERNAL_ERROR, module.ILogger.Severity.ERROR):
            self.errors.append(" ".join(str(message).split()))

    # Made here, as its base comes with the module.
    return type("ErrorLog", (module.ILogger,), {"__init__": start, "log": log})()
