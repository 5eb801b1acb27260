"""Training of one level's PixelSNAIL prior by cross-entropy over codes (VQ-VAE-2, section 3.2).

The codes of the data set stay in memory. The average of the weights over the steps is evaluated and saved.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from latentloop.cli.messages import note
from latentloop.errors import InputError
from latentloop.export.checkpoints.checkpoint import Checkpoint, file_digest, load_checkpoint
from latentloop.export.configuration import CONDITION_BLOCKS, HEADS, PriorConfig, VqvaeConfig, to_json
from latentloop.export.data.codes import Codes, codes_of_level
from latentloop.export.evaluation import bits_per_code
from latentloop.export.models.build import build_prior
from latentloop.export.models.pixelsnail import CausalConv2d, PixelSnail
from latentloop.export.train import distributed
from latentloop.export.train.network_task import NetworkTask
from latentloop.export.train.optimisation.precision import mixed_precision
from latentloop.export.train.options import PriorOptions
from latentloop.export.train.run.saving import save_trained, training_provenance
from latentloop.export.train.run.training_inputs import load_encoded_data, rename_classes
from latentloop.export.train.run.training_loop import run_training
from latentloop.export.train.run.training_options import from_arguments, loop_options, prepare
from latentloop.export.train.vqvae import check_size


class PriorTask(NetworkTask[PixelSnail]):
    """A prior in training."""

    def __init__(self, config: PriorConfig, data: Codes, options: PriorOptions, device: str = "cpu") -> None:
        super().__init__(PixelSnail, config, len(data), options, device, clip=options.clip)
        self.options = options
        self.network = distributed.data_parallel(self.model, device)
        self.data = data.to(device)

    @torch.no_grad()
    def start_from(self, trained: PixelSnail) -> None:
        """Copies the weights of a trained prior, before the first step."""
        self.model.load_state_dict(trained.state_dict())
        self.updates.average.restore(list(trained.parameters()))

    def step(self, step: int) -> Tensor:
        """Runs one step; returns its loss in nats per code. Dropout uses the global generator, which the loop seeds."""
        options, model = self.options, self.model
        model.train()
        codes, upper, labels = self.data.take(distributed.local_part(self.order(step)).to(self.device))
        with mixed_precision(self.device, options.precision):
            logits = self.network(codes, upper, labels)
        loss = functional.cross_entropy(logits.float(), codes)
        self.updates.apply(step, loss)
        return loss.detach()

    @torch.no_grad()
    def averaged(self) -> PixelSnail:
        """Returns a model with the averaged weights, for evaluation; masked weights of causal convolutions are zero."""
        model = super().averaged()
        for module in model.modules():
            if isinstance(module, CausalConv2d):
                module.weight.mul_(module.get_buffer("live"))
        return model


def train_prior(arguments: argparse.Namespace) -> dict[str, Any]:
    """Trains and saves the prior of one level. Returns its held-out metrics, or an empty dict in processes other
    than the leader. Raises LatentLoopError.
    """
    # 1. The VQ-VAE, the data and the prior's configuration.
    device = prepare(arguments, allow_processes=True)
    encoded = load_encoded_data(arguments, device)
    vqvae_config = encoded.vqvae.config
    data = rename_classes(encoded.data, arguments.class_names)
    config = prior_config(arguments, vqvae_config, encoded.size, len(data.classes))
    if distributed.is_leader():
        for text in options_without_effect(arguments, config):
            note(text)
    # 2. The options, and the checkpoint to start from.
    options = from_arguments(PriorOptions, arguments)
    result_options = {**asdict(options), "flip": arguments.flip}
    start = None if arguments.start is None else read_start(arguments.start, config)
    if start is not None:
        assert isinstance(start.config, PriorConfig)
        config = replace(config, inplace=start.config.inplace)
        result_options["from"] = file_digest(arguments.start)
    vqvae_digest = file_digest(arguments.vqvae)
    loop = loop_options(
        arguments, config, {**result_options, "level": arguments.level, "codes": encoded.codes_digest}, data
    )
    # 3. The codes.
    levels = encoded.codes(arguments, progress=loop.progress)
    index = vqvae_config.level_names.index(arguments.level)
    training, held_out = (
        codes_of_level(levels[name], index, part.labels if config.classes else None)
        for name, part in (("training", data.training), ("held_out", data.held_out))
    )
    # 4. The training.
    task = PriorTask(config, training, options, device)
    if start is not None:
        task.start_from(build_prior(start, arguments.start))
    force = run_training(task, loop)
    if not distributed.is_leader():
        return {}
    # 5. The metrics and the checkpoint.
    averaged = task.averaged()
    metrics = {"bits_per_code": bits_per_code(averaged, held_out.to(device))}
    sample = Codes(*training.take(torch.from_numpy(data.training_sample)))
    sample_metrics = {"bits_per_code": bits_per_code(averaged, sample.to(device))}
    provenance = training_provenance(arguments, data, result_options, metrics, sample_metrics)
    provenance |= {"level": arguments.level, "vqvae_sha256": vqvae_digest, "codes_sha256": encoded.codes_digest}
    provenance["classes"] = list(data.classes) if config.classes else []
    save_trained(loop, averaged, provenance, force=force)
    return metrics


def prior_config(arguments: argparse.Namespace, config: VqvaeConfig, size: int, classes: int) -> PriorConfig:
    """Returns the prior's configuration from the options, the VQ-VAE ``config``, the size of the images in pixels and
    the number of classes in the data.

    Raises InputError for an unknown level, or if ``size`` is not a multiple of the top level's stride.
    """
    if arguments.level not in config.level_names:
        raise InputError(f"level is {arguments.level!r}, expected one of {', '.join(config.level_names)}; pass --level")
    check_size(config, size)
    level = config.level_names.index(arguments.level)
    grid = size // config.stride(level)
    has_upper = level > 0
    classes = classes if arguments.classes else 0
    condition_blocks = CONDITION_BLOCKS if arguments.condition_blocks is None else arguments.condition_blocks
    return from_arguments(
        PriorConfig,
        arguments,
        height=grid,
        width=grid,
        codebook_size=config.codebook_size,
        heads=HEADS if arguments.heads is None else arguments.heads,
        attention=not has_upper if arguments.attention is None else arguments.attention,
        condition_codes=config.codebook_size if has_upper else 0,
        condition_channels=(arguments.condition_channels or arguments.channels) if has_upper else 0,
        condition_blocks=condition_blocks if has_upper else 0,
        classes=classes,
        class_channels=(arguments.class_channels or arguments.channels) if classes else 0,
    )


def options_without_effect(arguments: argparse.Namespace, config: PriorConfig) -> list[str]:
    """Returns a message for each option on the command line that a prior of this configuration does not use."""
    reasons = (
        (config.attention, "has no attention", ("heads",)),
        (config.condition_codes, "has no level above it", ("condition_channels", "condition_blocks")),
        (config.classes, "has no classes", ("class_channels", "class_names")),
    )
    return [
        f"--{name.replace('_', '-')} has no effect: the prior {reason}"
        for is_used, reason, names in reasons
        for name in names
        if not is_used and getattr(arguments, name) is not None
    ]


def read_start(path: Path, config: PriorConfig) -> Checkpoint:
    """Reads the checkpoint with which a prior's training starts.

    Raises InputError if its configuration differs in more than dropout and the variant of the residual blocks.
    """
    start = load_checkpoint(path)
    actual, expected = to_json(start.config), to_json(config)
    ignored = ("dropout", "inplace")
    differing = [name for name in expected if name not in ignored and actual.get(name) != expected[name]]
    if start.kind == "prior" and not differing:
        return start
    differences = "; ".join(f"{name} is {actual.get(name)!r}, expected {expected[name]!r}" for name in differing)
    raise InputError(
        f"{path} contains a {start.kind} with another configuration: {differences}; pass the options of its training"
    )
