"""Importing TensorRT's Python module, ``tensorrt`` or ``tensorrt_rtx``, and a logger that collects its errors."""

from __future__ import annotations

from typing import Any

from latentloop.environment.packages import import_package, is_missing, package_error


def tensorrt_module(name: str) -> Any | None:
    """Returns the module of that name, or None if it is not installed. Raises MissingError if its import fails."""
    try:
        return import_package(name)
    except Exception as error:  # of any type, for example if a library is missing
        if is_missing(name, error):
            return None
        raise package_error(name, error) from error


def error_log(module: Any) -> Any:
    """Returns a logger for ``module`` that prints nothing and stores error messages in the list ``errors``."""

    def initialise(self: Any) -> None:
        module.ILogger.__init__(self)
        self.errors = []

    def log(self: Any, severity: Any, message: str) -> None:
        if severity in (module.ILogger.Severity.INTERNAL_ERROR, module.ILogger.Severity.ERROR):
            self.errors.append(" ".join(str(message).split()))

    # The class is created here because its base class is part of the module.
    return type("ErrorLog", (module.ILogger,), {"__init__": initialise, "log": log})()
