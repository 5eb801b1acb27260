"""A preset's bundle with random weights, for backends to be timed with: its export needs ``onnx``."""

from __future__ import annotations

import time
from pathlib import Path

from latentloop.bench.gpu.check.part import Findings


def run(findings: Findings, preset: str, target: str) -> None:
    """The part: writes the bundle ``target``, or says what is missing."""
    begin = time.perf_counter()
    try:
        from latentloop.bench.sampling.models import build, split
    except ImportError as error:
        findings.missing(f"a bundle of {preset}", str(error))
        return
    (levels,) = split(preset)
    folder = Path(target).parent / "parts"
    build(preset, levels, folder).bundle.rename(target)
    findings.timing(f"export of {preset}", seconds={"export": time.perf_counter() - begin})
