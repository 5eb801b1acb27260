"""The part of the check that exports a preset's bundle with random weights, for later parts to time."""

from __future__ import annotations

import time
from pathlib import Path

from latentloop.bench.gpu.check.findings import Findings


def export_bundle(findings: Findings, preset: str, target: str) -> None:
    """Writes the bundle in the directory ``target``. The export needs ``onnx`` and ``safetensors``."""
    begin = time.perf_counter()
    try:
        from latentloop.bench.workload.models import build, split
    except ImportError as error:
        findings.missing(f"a bundle of {preset}", str(error))
        return
    (levels,) = split(preset)
    folder = Path(target).parent / "parts"
    build(preset, levels, folder).bundle.rename(target)
    findings.timing(f"export of {preset}", seconds={"export": time.perf_counter() - begin})
