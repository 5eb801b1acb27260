"""What TensorRT says, kept for exceptions; it prints nothing."""

from __future__ import annotations

from typing import Any


def error_log(module: Any) -> Any:
    """A logger for ``module``, tensorrt or tensorrt_rtx, whose ``errors`` are what it has said at that severity."""

    def start(self: Any) -> None:
        module.ILogger.__init__(self)
        self.errors = []

    def log(self: Any, severity: Any, message: str) -> None:
        if severity in (module.ILogger.Severity.INTERNAL_ERROR, module.ILogger.Severity.ERROR):
            self.errors.append(" ".join(str(message).split()))

    # Made here, as its base comes with the module.
    return type("ErrorLog", (module.ILogger,), {"__init__": start, "log": log})()
