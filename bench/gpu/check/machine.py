"""The machine on which the check ran: its GPU, driver, and versions of packages."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import torch

from latentloop.bench.machine.environment import environment
from latentloop.environment import machine as installed

PACKAGES = ("cuda-bindings", "pycuda", "onnx", "onnxruntime-gpu", "tensorrt", "tensorrt-rtx-cu13", "triton")


def machine(commit: str | None) -> dict[str, Any]:
    """Returns the description as plain JSON types. ``commit``: that of the source tree, if the tree has no .git."""
    description = environment(os.cpu_count() or 1)
    description |= {name: installed.package_version(name) or "not installed" for name in PACKAGES}
    if commit:
        description["commit"] = commit
    if not torch.cuda.is_available():
        return {**description, "gpu": "none"}
    major, minor = torch.cuda.get_device_capability()
    return {
        **description,
        "gpu": torch.cuda.get_device_name(),
        "compute_capability": f"{major}.{minor}",
        "cuda": torch.version.cuda,
        "driver": driver_version(),
    }


def driver_version() -> str:
    """Returns the driver's version from ``nvidia-smi``, or "unknown"."""
    try:
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        process = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return process.stdout.splitlines()[0].strip()
