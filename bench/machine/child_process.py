"""A measurement in a process of its own: what it holds in memory, and how many threads its libraries start.

``python -m latentloop.bench.machine.child_process MODULE FUNCTION ARGUMENTS`` prints the function's result as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from typing import Any

from latentloop.errors import LatentLoopError

_MARK = "latentloop-bench-result:"  # libraries may print, too


def in_child(module: str, function: str, arguments: dict[str, Any], threads: int) -> Any:
    """``latentloop.bench.<module>.<function>(**arguments)`` in a new process, through JSON.

    BLAS libraries read their number of threads when they load. Raises LatentLoopError with the child's last line.
    """
    limits = {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")}
    command = [sys.executable, "-m", "latentloop.bench.machine.child_process", module, function, json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **limits}, check=False)
    for line in done.stdout.splitlines():
        if line.startswith(_MARK):
            return json.loads(line.removeprefix(_MARK))
    last = next(iter(reversed(done.stderr.strip().splitlines())), f"exit status {done.returncode}")
    raise LatentLoopError(f"measuring {function} in a process of its own failed: {last}")


def main(arguments: list[str]) -> int:
    """The child's side; returns the exit status."""
    module, function, values = arguments
    result = getattr(import_module(f"latentloop.bench.{module}"), function)(**json.loads(values))
    print(_MARK + json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
