"""The host of sampling on a GPU, on a real driver, with PyTorch's kernels in place of a backend's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from latentloop import Bundle, Sampler
from latentloop.bench.gpu.check.parity import check_against, check_golden
from latentloop.bench.gpu.check.part import Findings
from latentloop.bench.gpu.check.times import time_sampler
from latentloop.bench.gpu.interpreter import TorchGraphs, interpreting_sampler
from latentloop.errors import LatentLoopError
from latentloop.kernels.driver import open_driver

BATCHES = (1, 16)
PLAIN, CAPTURED = "host with PyTorch's kernels", "host with PyTorch's kernels, captured"


def run(findings: Findings, bundle: str | None, budget: float) -> None:
    """The part. ``bundle``: one to time beside the default one, where it could be made."""
    driver = open_driver()
    for way in (PLAIN, CAPTURED):
        with findings.trying(way):
            default = Bundle.default()
            sampler = interpreting_sampler(default, TorchGraphs(default, 0, capturable=way == CAPTURED), driver, 0)
            check_sampler(findings, sampler, way=way)
            time_sampler(findings, sampler, 1, budget / 6, way=way, bundle="default", type="float32")
    if bundle is None:
        return
    with findings.trying(f"{CAPTURED}, {bundle}"):
        opened = Bundle.open(Path(bundle))
        sampler = interpreting_sampler(opened, TorchGraphs(opened, 0, capturable=True), driver, 0)
        for batch in BATCHES:
            time_sampler(findings, sampler, batch, budget / 3, way=CAPTURED, bundle=opened.path.name, type="float32")


def check_sampler(findings: Findings, sampler: Sampler, **values: Any) -> None:
    """Against golden vectors, and against the CPU where ONNX Runtime is there; ``values`` go into every finding."""
    check_golden(findings, sampler, **values)
    try:
        reference = Sampler(sampler.bundle, device="cpu")
    except (ImportError, LatentLoopError) as error:
        findings.missing("the CPU backend, to compare with", str(error))
        return
    check_against(findings, sampler, reference, **values)
