"""Parts of the check on a GPU for tests of the process that runs them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from latentloop.bench.gpu.check.findings import Findings


def every_kind(findings: Findings, x: int) -> None:
    findings.check("a", x == 3, bound=1)
    findings.timing("b", seconds={"row": 0.5})
    findings.missing("c", "why")
    findings.fact("d", rate=2)
    with findings.trying("e"):
        raise KeyError("lost")
    findings.check("f", False)


def raises(findings: Findings) -> None:
    findings.fact("before")
    raise RuntimeError("the GPU fell off")


def crashes(findings: Findings) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def hangs(findings: Findings, child: str) -> None:
    """Starts a process, writes its id to the file ``child``, and never returns."""
    Path(child).write_text(str(subprocess.Popen(["sleep", "300"]).pid))
    findings.fact("before")
    time.sleep(300)
