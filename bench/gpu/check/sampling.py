"""The check of sampling on a GPU: correctness of drivers, host code and backends, and their speed beside baselines.

python3 -m latentloop.bench.gpu.check.sampling --out FOLDER

Every part runs in a process of its own with a time limit; the others run even if one fails. Writes
FOLDER/gpu-sampling.json. The exit status is 1 if no backend ran, if no check was made, or if one failed.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from latentloop.bench.gpu.check.backends import check_backends
from latentloop.bench.gpu.check.baselines import time_baselines
from latentloop.bench.gpu.check.bundle import export_bundle
from latentloop.bench.gpu.check.driver import check_drivers
from latentloop.bench.gpu.check.host import check_host
from latentloop.bench.gpu.check.process import Outcome, run_part
from latentloop.bench.gpu.check.rates import record_rates
from latentloop.bench.gpu.check.report import describe, failures, image_times, level_bounds
from latentloop.bench.machine.environment import versions
from latentloop.bench.machine.gpu_run import GpuRun, driver_version

MODULE = "latentloop.bench.gpu.check.sampling"
PRESET, LARGE = "rosinality-256", "paper-256"
PACKAGES = ("cuda-bindings", "pycuda", "onnx", "onnxruntime-gpu", "tensorrt", "tensorrt-rtx-cu13", "triton")


@dataclass(frozen=True)
class Part:
    """One part: its function, the most seconds that it may run, and its arguments."""

    name: str
    function: Callable[..., None]
    limit: float
    arguments: dict[str, Any]


def all_parts(bundle: str) -> list[Part]:
    """Returns the parts, the most important first. ``bundle``: the directory that one part writes and others read."""

    def baselines(preset: str, limit: float, types: list[str], batches: list[int], *methods: str) -> Part:
        values = {"preset": preset, "types": types, "batches": batches, "methods": list(methods), "device": "cuda"}
        return Part("baselines", time_baselines, limit, values)

    both = ["float32", "float16"]
    return [
        Part("driver", check_drivers, 30, {}),
        Part("rates", record_rates, 30, {"device": "cuda"}),
        Part("bundle", export_bundle, 75, {"preset": PRESET, "target": bundle}),
        Part("backends", check_backends, 120, {"bundle": bundle, "budget": 60}),
        Part("host", check_host, 75, {"bundle": bundle, "budget": 45}),
        baselines(PRESET, 90, both, [1, 16], "naive", "eager"),
        baselines(LARGE, 75, ["float32"], [1], "naive", "eager"),
        baselines(PRESET, 150, ["float32"], [1], "compiled"),
        baselines(PRESET, 60, ["float32"], [1], "compiled-calls"),
    ]


def run_parts(parts: list[Part], budget: float) -> list[dict[str, Any]]:
    """Runs the parts in order, within ``budget`` seconds in all; returns their outcomes as plain JSON types."""
    until = time.monotonic() + budget
    outcomes = []
    for part in parts:
        arguments = dict(part.arguments)
        if "bundle" in arguments and not Path(arguments["bundle"]).is_dir():
            arguments["bundle"] = None
        limit = max(0.0, min(part.limit, until - time.monotonic()))
        print(f"-- {part.name}, at most {limit:.0f} s", flush=True)
        if limit < 5:
            outcome = Outcome([], 0.0, "no time was left for it")
        else:
            outcome = run_part(part.function, limit, arguments)
        if outcome.error:
            print(f"   {outcome.error}", flush=True)
        values = {"seconds": outcome.seconds, "error": outcome.error, "findings": outcome.findings}
        outcomes.append({"name": part.name, **values, "arguments": part.arguments})
    return outcomes


def main(arguments: list[str]) -> int:
    """Runs every part; returns the exit status."""
    run = GpuRun.parse(MODULE, "gpu-sampling.json", arguments, 6, "time for all parts together")
    with tempfile.TemporaryDirectory() as folder:
        parts = run_parts(all_parts(str(Path(folder) / PRESET)), run.seconds)
    reasons = failures(parts)
    more = versions(PACKAGES)
    if torch.cuda.is_available():
        more["driver"] = driver_version()
    bounds, images = level_bounds(parts), image_times(parts)
    run.write("gpu-sampling", os.cpu_count() or 1, more, parts=parts, floors=bounds, images=images, failures=reasons)
    print(describe(parts))
    print("\n".join(f"FAILED: {reason}" for reason in reasons) or "all checks that can run here passed")
    print(f"{run.path} written")
    return 1 if reasons else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
