"""A part of the check in a process of its own: it can hang, or leave the GPU's context unusable.

``python3 -m latentloop.bench.gpu.check.process REFERENCE FILE ARGUMENTS`` calls a function, which writes its findings
to FILE.
"""

from __future__ import annotations

import json
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentloop.bench.gpu.check.findings import LONGEST_ERROR, Finding, Findings, read_findings
from latentloop.bench.machine.child_process import reference


@dataclass(frozen=True)
class Outcome:
    """The findings of a part, the seconds that it took, and its error if it did not finish."""

    findings: list[Finding]
    seconds: float
    error: str | None


def run_part(function: Callable[..., None], limit: float, arguments: dict[str, Any]) -> Outcome:
    """Calls ``function(findings, **arguments)`` in a new process. Arguments pass through JSON.

    After ``limit`` seconds the process is killed, together with every process that it started.
    """
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        findings, stderr = Path(folder) / "findings", Path(folder) / "stderr"
        command = [sys.executable, "-m", __name__, reference(function), str(findings), json.dumps(arguments)]
        error = None
        with stderr.open("wb") as stream:
            process = subprocess.Popen(command, stderr=stream, start_new_session=True)
            try:
                status = process.wait(max(1.0, limit))
            except subprocess.TimeoutExpired:
                error = f"took more than {limit:.0f} s"
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)  # Ctrl-C does not reach it: it has a session of its own
                raise
            else:
                last = " / ".join(stderr.read_text(errors="replace").strip().splitlines()[-3:])
                error = f"exit status {status}: {last[-LONGEST_ERROR:]}" if status else None
        return Outcome(read_findings(findings), time.monotonic() - begin, error)


def main(arguments: list[str]) -> int:
    """Runs the function in the child process; returns the exit status."""
    function, file, values = arguments
    pkgutil.resolve_name(function)(Findings(Path(file)), **json.loads(values))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
