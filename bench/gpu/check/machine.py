"""Where the check ran: the GPU, its driver, and the versions of what matters."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import torch

from latentloop.bench.machine.environment import environment
from latentloop.environment import machine as installed

PACKAGES = ("cuda-bindings", "pycuda", "onnx", "onnxruntime-gpu", "tensorrt", "tensorrt-rtx-cu13", "triton")


def machine(commit: str | None) -> dict[str, Any]:
    """As plain JSON types. ``commit`` of the tree, where that is no repository."""
    found = environment(os.cpu_count() or 1)
    found |= {name: installed.package_version(name) or "not installed" for name in PACKAGES}
    if commit:
        found["commit"] = commit
    if not torch.cuda.is_available():
        return {**found, "gpu": "none"}
    major, minor = torch.cuda.get_device_capability()
    return {
        **found,
        "gpu": torch.cuda.get_device_name(),
        "compute_capability": f"{major}.{minor}",
        "cuda": torch.version.cuda,
        "driver": driver_version(),
    }


def driver_version() -> str:
    """As ``nvidia-smi`` says it."""
    try:
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.splitlines()[0].strip()
