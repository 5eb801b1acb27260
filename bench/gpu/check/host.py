"""The part of the check that runs the GPU backend's host code on a real driver, with PyTorch instead of TensorRT."""

from __future__ import annotations

from pathlib import Path

from latentloop import Bundle
from latentloop.bench.gpu.check.findings import Findings
from latentloop.bench.gpu.check.parity import check_sampler
from latentloop.bench.gpu.check.times import BATCHES, time_sampler
from latentloop.environment.packages import require
from latentloop.errors import MissingError
from latentloop.kernels.driver import open_driver

PLAIN, CAPTURED = "host with PyTorch's kernels", "host with PyTorch's kernels, captured"


def check_host(findings: Findings, bundle: str | None, budget: float) -> None:
    """Checks and times the default bundle, and times ``bundle`` if there is one. Needs ``onnx`` to read the graphs."""
    try:
        require("interpreting graphs", "onnx")
    except MissingError as error:
        findings.missing(PLAIN, str(error))
        return
    from latentloop.bench.gpu.interpreter import TorchGraphs, interpreting_sampler

    driver = open_driver()
    for title in (PLAIN, CAPTURED):
        with findings.trying(title):
            default = Bundle.default()
            sampler = interpreting_sampler(default, TorchGraphs(default, 0, capturable=title == CAPTURED), driver, 0)
            check_sampler(findings, sampler, way=title)
            time_sampler(findings, sampler, 1, budget / 6, way=title, bundle="default", type="float32")
    if bundle is None:
        return
    with findings.trying(f"{CAPTURED}, {bundle}"):
        opened = Bundle.open(Path(bundle))
        sampler = interpreting_sampler(opened, TorchGraphs(opened, 0, capturable=True), driver, 0)
        for batch in BATCHES:
            time_sampler(findings, sampler, batch, budget / 3, way=CAPTURED, bundle=opened.path.name, type="float32")
