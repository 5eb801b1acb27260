"""What the machine and the installation fix of a run's files: fields of the journal."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from latentloop._version import __version__
from latentloop.environment.machine import package_version
from latentloop.errors import InputError, short_repr
from latentloop.kernels import library
from latentloop.sampling.sampler import Sampler, runs_of

TENSORRT = ("tensorrt", "tensorrt-rtx-cu13")  # distributions that run engines
ONNXRUNTIME = ("onnxruntime", "onnxruntime-gpu")  # distributions that run a bundle's graphs


VARIABLE = "LATENTLOOP_INSTRUCTION_SET"
INSTRUCTION_SETS = ("portable", "avx2", "avx512")  # each processor that has one has those before it


def machine_fields(sampler: Sampler, batch_size: int, *, is_encoded: bool) -> dict[str, Any]:
    """Returns the fields, as plain JSON types. ``is_encoded``: Pillow encodes files.

    Raises InputError if the environment names an instruction set that there is not.
    """
    if (named := os.environ.get(VARIABLE)) and named not in INSTRUCTION_SETS:
        raise InputError(f"{VARIABLE} is {short_repr(named)}, expected one of {', '.join(INSTRUCTION_SETS)}")
    instructions = None
    if sampler.device == "cpu" and (operators := library.operators()) and not library.is_unusable(operators):
        instructions = library.instruction_set(operators)
    runs = TENSORRT if sampler.device.startswith("tensorrt") else ONNXRUNTIME
    used = (*runs, *(("pillow",) if is_encoded else ()))
    versions = {name: version for name in used if (version := package_version(name)) is not None}
    return {
        "batch_size": batch_size,
        "threads": sampler.threads,
        "device": sampler.device,
        "gpu": runs_of(sampler).backend.gpu,
        "instruction_set": instructions,
        "packages": {"latentloop": __version__, **versions},
    }


@dataclass(frozen=True)
class Machine:
    """What a sampler says of itself, wherever it is, for the plan of a run and its report. ``fields`` are those of the
    journal.
    """

    default_batch_size: int
    device: str
    device_reason: str
    threads: int
    precision: str
    fields: dict[str, Any]

    @staticmethod
    def of(sampler: Sampler, *, is_encoded: bool) -> Machine:
        """Returns what the sampler says; the batch size in the fields is its default."""
        size = sampler.default_batch_size
        fields = machine_fields(sampler, size, is_encoded=is_encoded)
        return Machine(size, sampler.device, sampler.device_reason, sampler.threads, sampler.precision, fields)
