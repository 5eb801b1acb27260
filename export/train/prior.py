"""Training of one level's PixelSNAIL prior by cross-entropy over codes (VQ-VAE-2, section 3.2).

The codes of the data set stay in memory. What is evaluated and saved is the average of the weights over the steps.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from latentloop.errors import InputError
from latentloop.export.checkpoints.checkpoint import Checkpoint, load_checkpoint
from latentloop.export.checkpoints.codes_digest import codes_digest
from latentloop.export.checkpoints.reading import read_vqvae
from latentloop.export.configuration import CONDITION_BLOCKS, HEADS, PriorConfig, VqvaeConfig, to_json
from latentloop.export.forms.check import check_reconstruction
from latentloop.export.forms.form import read_form
from latentloop.export.models.build import build_prior, build_vqvae
from latentloop.export.models.pixelsnail import CausalConv2d, PixelSnail
from latentloop.export.train.data.codes import Codes, bits_per_code, of_level
from latentloop.export.train.data.order import BatchOrder
from latentloop.export.train.loop import distributed, runs
from latentloop.export.train.loop.loop import run_training
from latentloop.export.train.loop.optimisation import Descent
from latentloop.export.train.loop.precision import lay_out, mixed
from latentloop.export.train.vqvae import check_size


@dataclass(frozen=True)
class PriorOptions:
    """Steps, images a step, peak rate and its warm-up, limit of the gradient's norm, decay of the average.

    ``precision`` is one of ``PRECISIONS``.
    """

    steps: int
    batch: int = 64
    rate: float = 1e-3
    seed: int = 0
    warm_up: int = 200
    clip: float = 1.0
    average: float = 0.999
    weight_decay: float = 0.01
    precision: str = "float32"


def prior_fields(config: VqvaeConfig, level: str, size: int) -> dict[str, int]:
    """The fields of a PriorConfig that the VQ-VAE decides: grid, codebook size, codes of the level above."""
    if level not in config.level_names:
        raise InputError(f"level is {level!r}, expected one of {', '.join(config.level_names)}; pass --level")
    check_size(config, size)
    index = config.level_names.index(level)
    grid = size // config.stride(index)
    return {
        "height": grid,
        "width": grid,
        "codebook_size": config.codebook_size,
        "condition_codes": config.codebook_size if index else 0,
    }


class PriorTask:
    """A prior in training."""

    def __init__(self, config: PriorConfig, data: Codes, options: PriorOptions, device: str = "cpu") -> None:
        torch.manual_seed(options.seed)
        distributed.check_batch(options.batch)
        self.options, self.device = options, device
        self.model: PixelSnail = lay_out(PixelSnail(config).to(device), options.precision)
        self.network = distributed.parallel(self.model, device)
        self.data = data.to(device)
        self.order = BatchOrder(len(data), options.batch, options.seed)
        self.descent = Descent(
            self.model,
            steps=options.steps,
            rate=options.rate,
            warm_up=options.warm_up,
            weight_decay=options.weight_decay,
            average=options.average,
            clip=options.clip,
        )

    @torch.no_grad()
    def start_from(self, trained: PixelSnail) -> None:
        """Takes over the weights of a trained prior, before the first step."""
        self.model.load_state_dict(trained.state_dict())
        self.descent.average.restore(list(trained.parameters()))

    def step(self, step: int) -> Tensor:
        """One step; returns its loss in nats per code. Dropout draws from the generator the loop seeds."""
        options, model = self.options, self.model
        model.train()
        codes, upper, labels = self.data.take(distributed.part(self.order(step)).to(self.device))
        with mixed(self.device, options.precision):
            logits = self.network(codes, upper, labels)
        loss = functional.cross_entropy(logits.float(), codes)
        self.descent.take(step, loss)
        return loss.detach()

    def averaged(self) -> PixelSnail:
        """A model with the averaged weights, for evaluation; masked taps of causal convolutions are zero."""
        model = PixelSnail(self.model.config).to(self.device).eval()
        self.descent.average.copy_to(model)
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, CausalConv2d):
                    module.weight.mul_(module.get_buffer("live"))
        return model

    def state(self) -> dict[str, Any]:
        """Model, optimiser and the average."""
        return self.descent.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Takes over what ``state`` returned."""
        self.descent.restore(state)


def train_prior(arguments: argparse.Namespace) -> dict[str, Any]:
    """Trains and saves the prior of one level; returns its held-out figures. Raises LatentLoopError.

    Of several processes only the first has figures to return; the others return none.
    """
    device = runs.prepare(arguments, several=True)
    source = read_form(arguments.vqvae, read_vqvae(Path(arguments.vqvae)), arguments.vqvae_inplace)
    model = build_vqvae(source, arguments.vqvae).to(device)
    size = runs.image_size(arguments, source)
    data = runs.load(arguments, size, model.config.image_channels)
    if arguments.vqvae_inplace is None:
        check_reconstruction(source, data)
    if arguments.class_names is not None:
        data = runs.rename_classes(data, arguments.class_names.split(","))
    config = prior_config(arguments, model.config, size, len(data.classes))
    if distributed.leads():
        for text in without_effect(arguments, config):
            print(f"latentloop: {text}", file=sys.stderr)
    options = runs.training_options(PriorOptions, arguments)
    used = {**asdict(options), "flip": arguments.flip}
    start = None if arguments.start is None else read_start(arguments.start, config)
    if start is not None:
        assert isinstance(start.config, PriorConfig)
        config = replace(config, inplace=start.config.inplace)
        used["from"] = runs.file_digest(arguments.start)
    weights = runs.file_digest(arguments.vqvae)
    codes = codes_digest(model.config, source.weights)
    loop = runs.loop_options(arguments, config, {**used, "level": arguments.level, "codes": codes}, data)
    levels = runs.encoded(arguments, model, codes, data, progress=loop.progress)
    index = model.config.level_names.index(arguments.level)
    training, held_out = (
        of_level(levels[name], index, part.labels if config.classes else None)
        for name, part in (("training", data.training), ("held_out", data.held_out))
    )
    task = PriorTask(config, training, options, device)
    if start is not None:
        task.start_from(build_prior(start, arguments.start))
    force = run_training(task, loop)
    if not distributed.leads():
        return {}
    averaged = task.averaged()
    metrics = {"bits_per_code": bits_per_code(averaged, held_out.to(device))}
    provenance = runs.origin(arguments, data, used, metrics)
    provenance |= {"level": arguments.level, "vqvae_sha256": weights, "codes_sha256": codes}
    provenance["classes"] = list(data.classes) if config.classes else []
    runs.save(loop, config, averaged, provenance, force)
    return metrics


def prior_config(arguments: argparse.Namespace, config: VqvaeConfig, size: int, classes: int) -> PriorConfig:
    """The prior's configuration from the options, the VQ-VAE and the number of classes in the data."""
    decided: dict[str, Any] = prior_fields(config, arguments.level, size)
    lower = decided["condition_codes"] > 0
    classes = classes if arguments.classes else 0
    condition_blocks = CONDITION_BLOCKS if arguments.condition_blocks is None else arguments.condition_blocks
    names = (
        "channels",
        "residual_channels",
        "kernel",
        "blocks",
        "residual_blocks",
        "output_blocks",
        "dropout",
    )
    return PriorConfig(
        **decided,
        **{name: getattr(arguments, name) for name in names},
        heads=HEADS if arguments.heads is None else arguments.heads,
        attention=not lower if arguments.attention is None else arguments.attention,
        condition_channels=(arguments.condition_channels or arguments.channels) if lower else 0,
        condition_blocks=condition_blocks if lower else 0,
        classes=classes,
        class_channels=(arguments.class_channels or arguments.channels) if classes else 0,
    )


def without_effect(arguments: argparse.Namespace, config: PriorConfig) -> list[str]:
    """What to say of options that were given and change nothing in such a prior."""
    lacking = (
        (config.attention, "has no attention", ("heads",)),
        (config.condition_codes, "has no level above it", ("condition_channels", "condition_blocks")),
        (config.classes, "has no classes", ("class_channels", "class_names")),
    )
    return [
        f"--{name.replace('_', '-')} has no effect: the prior {reason}"
        for present, reason, names in lacking
        for name in names
        if not present and getattr(arguments, name) is not None
    ]


def read_start(path: Path, config: PriorConfig) -> Checkpoint:
    """The checkpoint a prior's training begins with.

    Raises InputError where more differs than dropout and the form, which the weights decide.
    """
    found = load_checkpoint(path)
    theirs, ours = to_json(found.config), to_json(config)
    differing = [name for name in ours if name not in ("dropout", "inplace") and theirs.get(name) != ours[name]]
    if found.kind == "prior" and not differing:
        return found
    told = "; ".join(f"{name} is {theirs.get(name)!r}, expected {ours[name]!r}" for name in differing)
    raise InputError(f"{path} holds a {found.kind} of another shape: {told}; give the options that it was trained with")
