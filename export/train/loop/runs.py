"""What all trainings share between the command line and the checkpoint: options, data, codes, provenance."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn

from latentloop._version import __version__
from latentloop.errors import InputError, MissingError
from latentloop.export.checkpoints.checkpoint import Checkpoint, save_checkpoint
from latentloop.export.configuration import AnyConfig, to_json
from latentloop.export.models.vqvae import Vqvae
from latentloop.export.train.data.codes import Levels, encode
from latentloop.export.train.data.codes_cache import cache_key, cache_path, cached
from latentloop.export.train.data.datasets import Data, load_data
from latentloop.export.train.loop import distributed
from latentloop.export.train.loop.loop import LoopOptions, finish, state_path
from latentloop.io.files import check_free
from latentloop.sampling.sampler import MOST_THREADS

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SEEDS = 2**63  # as many as signed 64-bit integers hold: torch takes these on every device

Metrics = dict[str, Any]
Options = TypeVar("Options", bound="DataclassInstance")


def prepare(arguments: argparse.Namespace, *, several: bool = False) -> str:
    """Sets the threads, checks the device and what would fail only after work; returns the device's name.

    ``several`` joins the other processes where ``torchrun`` started some.
    """
    check_options(arguments)
    if distributed.launched() > 1 and not several:
        raise InputError(f"train {arguments.network} runs in one process; start it without torchrun")
    if arguments.threads is not None:
        if not 1 <= arguments.threads <= MOST_THREADS:
            raise InputError(f"threads is {arguments.threads}, expected 1 to {MOST_THREADS}")
        torch.set_num_threads(arguments.threads)
    for name, seed in (("seed", arguments.seed), ("split-seed", arguments.split_seed or 0)):
        if not 0 <= seed < SEEDS:
            raise InputError(f"{name} is {seed}, expected 0 to {SEEDS - 1}")
    device = str(arguments.device)
    if device.partition(":")[0] not in ("cpu", "cuda"):
        raise InputError(f"device is {device!r}, expected cpu or cuda")
    if device != "cpu" and not torch.cuda.is_available():
        raise MissingError(f"device {device}: this torch sees no CUDA device; pass --device cpu")
    torch.backends.cudnn.deterministic = True  # a resumed run must end with the same bits
    return distributed.join(device)


def check_options(arguments: argparse.Namespace) -> None:
    """Raises InputError for values that no training takes, OutputError where ``out`` exists or cannot be written."""
    out = Path(arguments.out)
    if out.suffix != ".safetensors":  # by which `export` knows it from the common PyTorch layout
        raise InputError(f"out is {out}, expected a name that ends in .safetensors")
    state = state_path(out)
    check_free(out, force=arguments.force or state.exists())  # a run that goes on may have been given --force before
    check_free(state, force=True)
    for name, low, high in (("lr", 0.0, math.inf), ("clip", 0.0, math.inf), ("average", 0.0, 1.0)):
        value = getattr(arguments, name, None)  # a VQ-VAE has not all of them
        if value is not None and not low < value < high:
            raise InputError(
                f"{name} is {value}, expected over {low:g}" + (f", under {high:g}" if high < math.inf else "")
            )
    if arguments.warm_up < 0:
        raise InputError(f"warm-up is {arguments.warm_up}, expected at least 0")
    if not 0 <= arguments.weight_decay < math.inf:
        raise InputError(f"weight-decay is {arguments.weight_decay}, expected at least 0")


def image_size(arguments: argparse.Namespace, vqvae: Checkpoint) -> int:
    """Pixels along a side: what the options say, or what the VQ-VAE was trained on. Raises InputError for neither."""
    size = arguments.size or vqvae.provenance.get("size")
    if not isinstance(size, int):
        raise InputError(f"{arguments.vqvae}: does not say the size of its images; pass --size")
    return size


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def training_options(kind: type[Options], arguments: argparse.Namespace) -> Options:
    """One network's options, filled from the command line's by their names."""
    names = {field.name: "lr" if field.name == "rate" else field.name for field in fields(kind)}
    return kind(**{name: getattr(arguments, given) for name, given in names.items()})


def rename_classes(data: Data, names: list[str]) -> Data:
    """The same data with other class names. Raises InputError where one is empty, or two are the same."""
    if len(names) != len(data.classes):
        raise InputError(f"class-names are {len(names)}, expected {len(data.classes)}, one per label")
    names = [name.strip() for name in names]
    for label, name in enumerate(names):
        if not name or name in names[:label]:
            raise InputError(f"class-names: label {label} is {name!r}, expected a name that no other label has")
    return Data(data.training, data.held_out, tuple(names), data.description)


def report(metrics: Metrics, *, as_json: bool) -> None:
    """Prints the figures."""
    if as_json:
        print(json.dumps(metrics))
        return
    for name, value in metrics.items():
        listed = value if isinstance(value, dict) else {"": value}
        print(f"{name}: " + ", ".join(f"{key} {number:.6g}".strip() for key, number in listed.items()))


def load(arguments: argparse.Namespace, size: int, image_channels: int | None) -> Data:
    """The data set of the options, told on stderr. Raises InputError."""
    data = load_data(
        arguments.data,
        size,
        image_channels=image_channels,
        held_out=arguments.held_out,
        split_seed=arguments.split_seed,
    )
    if distributed.leads():
        print(data.description, file=sys.stderr)
    return data


def encoded(
    arguments: argparse.Namespace, model: Vqvae, codes: str, data: Data, *, progress: bool
) -> dict[str, Levels]:
    """The codes of the ``training`` and the ``held_out`` part, from disk where they are there.

    ``codes`` is the VQ-VAE's ``codes_digest``. With ``flip`` the mirrored images' codes follow those to train on.
    """
    device, flip = str(next(model.parameters()).device), bool(arguments.flip)
    parts = {"training": (data.training, flip), "held_out": (data.held_out, False)}
    counts = {name: len(part) * (1 + mirrored) for name, (part, mirrored) in parts.items()}
    key = cache_key(codes, data.digest, flip=flip)
    with distributed.leader_first():
        return cached(
            cache_path(Path(arguments.vqvae), key),
            key,
            model.config,
            data.training.images.shape[1],
            counts,
            lambda name: encode(model, parts[name][0], flip=parts[name][1], device=device, progress=progress),
        )


def loop_options(arguments: argparse.Namespace, config: AnyConfig, options: dict[str, Any], data: Data) -> LoopOptions:
    """How the training runs; a state is only taken up with the same configuration, options and data."""
    decides = {**to_json(config), **options, "data": data.digest, "device": str(arguments.device)}
    return LoopOptions(
        Path(arguments.out),
        arguments.steps,
        arguments.seed,
        arguments.save_every,
        restart=arguments.restart,
        force=arguments.force,
        progress=distributed.leads(),
        arguments=decides,
    )


def origin(arguments: argparse.Namespace, data: Data, options: dict[str, Any], metrics: Metrics) -> dict[str, Any]:
    """What a checkpoint says of its data, its training and its held-out figures."""
    return {
        "data": data.description,
        "data_sha256": data.digest,
        "classes": list(data.classes),
        "training_images": len(data.training),
        "held_out_images": len(data.held_out),
        "size": data.training.images.shape[1],
        "training": options,
        "held_out": metrics,
        "licence": arguments.licence,
        "latentloop": __version__,
        "torch": torch.__version__,
    }


def save(
    loop: LoopOptions,
    config: AnyConfig,
    model: nn.Module,
    provenance: dict[str, Any],
    force: bool,
) -> None:
    """Writes the checkpoint, and removes the state. Raises OutputError."""
    weights = {name: value.detach().cpu().float().numpy() for name, value in model.state_dict().items()}
    checkpoint = Checkpoint(config, weights, provenance)
    finish(loop, lambda: save_checkpoint(loop.out, checkpoint, force=force))
