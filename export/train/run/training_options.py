"""Checks of the command line's options, and their conversion to a network's and the loop's options."""

from __future__ import annotations

import argparse
import math
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from latentloop.errors import InputError, MissingError
from latentloop.export.configuration import AnyConfig, to_json
from latentloop.export.data.datasets import Data
from latentloop.export.train import distributed
from latentloop.export.train.run.training_loop import LoopOptions, state_path
from latentloop.io.files import check_free
from latentloop.sampling.sampler import MAX_THREADS

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SEEDS = 2**63  # the number of seeds: torch accepts the signed 64-bit integers from 0 on every device

Values = TypeVar("Values", bound="DataclassInstance")


def prepare(arguments: argparse.Namespace, *, allow_processes: bool = False) -> str:
    """Checks the options, sets torch's threads and joins the processes of ``torchrun``; returns the device's name.

    Raises InputError, MissingError or OutputError for problems that would otherwise show only after the training;
    InputError also if ``torchrun`` started several processes and ``allow_processes`` is False.
    """
    check_options(arguments)
    if distributed.launched_processes() > 1 and not allow_processes:
        raise InputError(f"train {arguments.network} runs in one process; start it without torchrun")
    if arguments.threads is not None:
        if not 1 <= arguments.threads <= MAX_THREADS:
            raise InputError(f"threads is {arguments.threads}, expected 1 to {MAX_THREADS}")
        torch.set_num_threads(arguments.threads)
    for name, seed in (("seed", arguments.seed), ("split-seed", arguments.split_seed or 0)):
        if not 0 <= seed < SEEDS:
            raise InputError(f"{name} is {seed}, expected 0 to {SEEDS - 1}")
    device = str(arguments.device)
    if device.partition(":")[0] not in ("cpu", "cuda"):
        raise InputError(f"device is {device!r}, expected cpu or cuda")
    if device != "cpu" and not torch.cuda.is_available():
        raise MissingError(f"device {device}: PyTorch finds no CUDA device; pass --device cpu")
    torch.backends.cudnn.deterministic = True  # a resumed run must be bit-identical to an uninterrupted one
    return distributed.join(device)


def check_options(arguments: argparse.Namespace) -> None:
    """Raises InputError for values outside their range, OutputError if ``out`` exists or cannot be written."""
    out = Path(arguments.out)
    if out.suffix != ".safetensors":  # `export` distinguishes it from PyTorch files by the suffix
        raise InputError(f"out is {out}, expected a name that ends in .safetensors")
    state = state_path(out)
    check_free(out, force=arguments.force or state.exists())  # an interrupted run may have had --force
    check_free(state, force=True)
    for name, low, high in (("lr", 0.0, math.inf), ("clip", 0.0, math.inf), ("average", 0.0, 1.0)):
        value = getattr(arguments, name, None)  # not every network has all three
        if value is not None and not low < value < high:
            upper_bound = f", under {high:g}" if high < math.inf else ""
            raise InputError(f"{name} is {value}, expected over {low:g}{upper_bound}")
    for name in ("warm-up", "unquantised-steps"):
        steps = getattr(arguments, name.replace("-", "_"), 0)
        if steps < 0:
            raise InputError(f"{name} is {steps}, expected at least 0")
    if not 0 <= arguments.weight_decay < math.inf:
        raise InputError(f"weight-decay is {arguments.weight_decay}, expected at least 0")


def from_arguments(kind: type[Values], arguments: argparse.Namespace, /, **given: Any) -> Values:
    """Returns a network's configuration, or options of its training or of the loop.

    Each field is ``given``, or the command-line option of the same name (``rate``: of ``lr``); without such an option
    it has its default.
    """
    values = {"rate": arguments.lr, **vars(arguments), **given}
    return kind(**{field.name: values[field.name] for field in fields(kind) if field.name in values})


def loop_options(arguments: argparse.Namespace, config: AnyConfig, options: dict[str, Any], data: Data) -> LoopOptions:
    """Returns the loop's options. Configuration, ``options``, data and device determine the result of the training."""
    result_options = {**to_json(config), **options, "data": data.digest, "device": str(arguments.device)}
    return from_arguments(LoopOptions, arguments, progress=distributed.is_leader(), arguments=result_options)
