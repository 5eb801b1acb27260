"""Functions in a process of their own: libraries' memory and thread counts belong to a process.

``python -m latentloop.bench.machine.child_process REFERENCE ARGUMENTS`` prints a function's result as JSON.
"""

from __future__ import annotations

import json
import os
import pkgutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from latentloop.errors import LatentLoopError

_PREFIX = "latentloop-bench-result:"  # of the result's line; libraries may print others


def in_child(function: Callable[..., Any], arguments: dict[str, Any], threads: int) -> Any:
    """Returns ``function(**arguments)`` from a new process. Arguments and result pass through JSON.

    The function must be importable by its module and name. The process limits BLAS libraries to ``threads`` threads,
    a number that they read when they load. Raises LatentLoopError with the last line that the process printed.
    """
    limits = {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")}
    command = [sys.executable, "-m", __name__, reference(function), json.dumps(arguments)]
    process = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **limits}, check=False)
    for line in process.stdout.splitlines():
        if line.startswith(_PREFIX):
            return json.loads(line.removeprefix(_PREFIX))
    last = next(iter(reversed(process.stderr.strip().splitlines())), f"exit status {process.returncode}")
    raise LatentLoopError(f"measuring {function.__qualname__} in a process of its own failed: {last}")


def reference(function: Callable[..., Any]) -> str:
    """Returns ``module:name``, by which another process finds the function with ``pkgutil.resolve_name``."""
    return f"{function.__module__}:{function.__qualname__}"


def main(arguments: list[str]) -> int:
    """Runs the function in the child process; returns the exit status."""
    function, values = arguments
    result = pkgutil.resolve_name(function)(**json.loads(values))
    print(_PREFIX + json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
