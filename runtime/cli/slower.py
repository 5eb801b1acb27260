"""Reasons why a run was slower than this machine allows, if the user can change them and did not ask for them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from latentloop.environment import machine
from latentloop.kernels import library

GPU = Path("/dev/nvidia0")  # exists if the driver shows a GPU to this process
VARIABLE = "LATENTLOOP_INSTRUCTION_SET"
_INSTRUCTIONS = {"portable": set(), "avx2": {"avx2", "fma"}, "avx512": {"avx512f"}}  # needed for each set, best last


def slower_because(device: str, requested_device: str, device_reason: str) -> list[str]:
    """Returns the reasons why a run on ``device`` was slower, each with a remedy. The device was chosen for
    ``device_reason`` if ``requested_device`` is "auto".
    """
    if device != "cpu":
        return []
    reasons = []
    path = library.operators()
    if path is None:
        reasons.append("the native operators are not built: install a C++ compiler and reinstall latentloop")
    elif library.is_unusable(path):
        reasons.append("the native operators cannot be loaded: reinstall latentloop")
    elif better := _better_instruction_set(path):
        reasons.append(f"{VARIABLE} is {os.environ[VARIABLE]}, this processor has {better}: unset it")
    is_hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if requested_device == "auto" and GPU.exists() and not is_hidden:
        reasons.append(f"the GPU is not used: {device_reason}")
    return reasons


def _better_instruction_set(path: Path) -> str:
    """Returns the best instruction set of this processor if the environment chose a lesser one, otherwise ""."""
    if not os.environ.get(VARIABLE):
        return ""
    available = set(machine.processor()["instructions"])
    *_, best = (name for name, needed in _INSTRUCTIONS.items() if needed <= available)
    with suppress(OSError, AttributeError):  # a library of another release
        used = library.instruction_set(path)
        names = list(_INSTRUCTIONS)
        if used in names and names.index(used) < names.index(best):
            return best
    return ""
