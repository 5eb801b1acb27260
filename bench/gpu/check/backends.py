"""The part of the check that verifies and times every GPU backend that opens here."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from latentloop import Bundle, Sampler
from latentloop.backends import registry
from latentloop.backends.gpu.availability import open_gpu
from latentloop.bench.gpu.check.findings import Findings
from latentloop.bench.gpu.check.parity import check_golden, check_sampler
from latentloop.bench.gpu.check.times import BATCHES, time_sampler
from latentloop.engines.engine_set import architecture_of
from latentloop.errors import LatentLoopError, MissingError

BACKENDS = registry.names(on_gpu=True)
PRECISIONS = {"tensorrt": ("float32", "float16")}  # of other backends float32 alone


def check_backends(findings: Findings, bundle: str | None, budget: float) -> None:
    """Checks and times all backends with the default bundle, and times them with ``bundle`` if there is one."""
    with tempfile.TemporaryDirectory() as folder:
        default = Path(folder) / "default"
        shutil.copytree(Bundle.default().path, default)
        for path in (default, *([Path(bundle)] if bundle else [])):
            for backend in BACKENDS:
                if backend == "tensorrt":
                    _build_engines(findings, path)
                for precision in PRECISIONS.get(backend, ("float32",)):
                    with findings.trying(f"{backend}, {precision}, {path.name}"):
                        _check_backend(findings, path, backend, precision, budget, compared=path == default)


def _check_backend(
    findings: Findings, path: Path, backend: str, precision: str, budget: float, *, compared: bool
) -> None:
    bundle = Bundle.open(path)
    try:
        sampler = Sampler(bundle, device=backend, precision=precision)
    except (ImportError, LatentLoopError) as error:
        findings.missing(f"{backend}, {precision}, {path.name}", str(error))
        return
    findings.fact(f"{backend}, {precision}, {path.name}", device=sampler.device, by=sampler.device_reason)
    if precision != "float32":
        check_golden(findings, sampler, way=backend, backend=backend, type=precision)
    elif compared:
        check_sampler(findings, sampler, way=backend, backend=backend, type=precision)
    for batch in BATCHES:
        time_sampler(findings, sampler, batch, budget / 8, way=backend, bundle=path.name, type=precision)


def _build_engines(findings: Findings, path: Path) -> None:
    """Builds engines for this machine's GPU if TensorRT is installed."""
    try:
        from latentloop.export.tensorrt.builder import open_builder
        from latentloop.export.tensorrt.engine_sets import build_sets

        driver, flavour = open_gpu(), open_builder(None)
        with driver.use(0):
            architecture = architecture_of(driver.capability())
        if architecture not in flavour.architectures():
            raise MissingError(f"{flavour.name} {flavour.version} cannot build for {architecture}")
        precisions = PRECISIONS["tensorrt"]
        for built in build_sets(Bundle.open(path), flavour, [architecture], precisions, max_batch=max(BATCHES)):
            findings.timing(f"engines of {path.name}", precision=built.precision, seconds={"build": built.seconds})
    except (ImportError, LatentLoopError) as error:
        findings.missing(f"engines of {path.name}", str(error))
