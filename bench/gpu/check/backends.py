"""Every backend for a GPU that opens here: is it right, and how fast is it?"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from latentloop import Bundle, Sampler
from latentloop.backends import registry
from latentloop.backends.gpu.availability import open_gpu
from latentloop.bench.gpu.check.host import BATCHES, check_sampler
from latentloop.bench.gpu.check.parity import check_golden
from latentloop.bench.gpu.check.part import Findings
from latentloop.bench.gpu.check.times import time_sampler
from latentloop.engines.engine_set import architecture_of
from latentloop.errors import LatentLoopError, MissingError

BACKENDS = registry.names(on_gpu=True)
PRECISIONS = {"tensorrt": ("float32", "float16")}  # of others float32 alone


def run(findings: Findings, bundle: str | None, budget: float) -> None:
    """The part. ``bundle``: one to time beside the default one, where it could be made."""
    with tempfile.TemporaryDirectory() as folder:
        default = Path(folder) / "default"
        shutil.copytree(Bundle.default().path, default)
        for path in (default, *([Path(bundle)] if bundle else [])):
            for backend in BACKENDS:
                if backend == "tensorrt":
                    _build_engines(findings, path)
                for precision in PRECISIONS.get(backend, ("float32",)):
                    with findings.trying(f"{backend}, {precision}, {path.name}"):
                        _run_backend(findings, path, backend, precision, budget, checked=path == default)


def _run_backend(findings: Findings, path: Path, backend: str, precision: str, budget: float, *, checked: bool) -> None:
    bundle = Bundle.open(path)
    try:
        sampler = Sampler(bundle, device=backend, precision=precision)
    except (ImportError, LatentLoopError) as error:
        findings.missing(f"{backend}, {precision}, {path.name}", str(error))
        return
    findings.fact(f"{backend}, {precision}, {path.name}", device=sampler.device, by=sampler.device_reason)
    if precision != "float32":
        check_golden(findings, sampler, way=backend, backend=backend, type=precision)
    elif checked:
        check_sampler(findings, sampler, way=backend, backend=backend, type=precision)
    for batch in BATCHES:
        time_sampler(findings, sampler, batch, budget / 8, way=backend, bundle=path.name, type=precision)


def _build_engines(findings: Findings, path: Path) -> None:
    """Engines for the GPU that is here, where TensorRT is too."""
    try:
        from latentloop.export.tensorrt.builder import open_flavour
        from latentloop.export.tensorrt.engine_sets import build_sets

        driver, flavour = open_gpu(), open_flavour(None)
        with driver.use(0):
            here = architecture_of(driver.capability())
        if here not in flavour.architectures():
            raise MissingError(f"{flavour.name} {flavour.version} cannot build for {here}")
        for made in build_sets(Bundle.open(path), flavour, [here], PRECISIONS["tensorrt"], max_batch=max(BATCHES)):
            findings.timing(f"engines of {path.name}", precision=made.precision, seconds={"build": made.seconds})
    except (ImportError, LatentLoopError) as error:
        findings.missing(f"engines of {path.name}", str(error))
