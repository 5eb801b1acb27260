"""What is measured: a preset's random weights, or the default bundle, as checkpoints and bundles on disk.

Peers of one run load the same files. A hierarchy too large for memory is cut into one part per level, each with
fewer layers; every result of it is scaled to the full depth and says so.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import torch
from torch import nn

from latentloop import Bundle
from latentloop.bench.machine.arithmetic import parameters
from latentloop.bench.sampling.parts import Part, TimedLevel
from latentloop.errors import InputError
from latentloop.export.bundle import BundleSource, write_bundle
from latentloop.export.checkpoints.checkpoint import Checkpoint, Weights, load_checkpoint, save_checkpoint
from latentloop.export.configuration import PriorConfig, VqvaeConfig, from_json
from latentloop.export.models.build import build_prior, build_vqvae
from latentloop.export.models.pixelsnail import PixelSnail
from latentloop.export.models.presets import PRESETS, Preset
from latentloop.export.models.vqvae import Vqvae

DEFAULT = "default"  # the bundle that ships
MOST_PARAMETERS = 300_000_000  # of priors in one part: an export holds each several times, in float32 and float64


def hierarchy(name: str) -> Preset:
    """The networks of a preset or of the default bundle; raises InputError that lists the names there are."""
    if name != DEFAULT:
        if name not in PRESETS:
            raise InputError(f"no preset {name!r}; there are: {', '.join(PRESETS)}, and {DEFAULT}, the default bundle")
        return PRESETS[name]
    models = Bundle.default().manifest.provenance["models"]
    vqvae = from_json(VqvaeConfig, models["vqvae"]["configuration"], "the default bundle")
    priors = (from_json(PriorConfig, models[level]["configuration"], level) for level in vqvae.level_names)
    return Preset(vqvae, tuple(priors))


def split(name: str) -> list[tuple[TimedLevel, ...]]:
    """The parts that a hierarchy is measured in: one where it fits, else one per level, reduced."""
    chosen = hierarchy(name)
    named = list(zip(chosen.vqvae.level_names, chosen.priors, strict=True))
    if sum(parameters(config) for _, config in named) <= MOST_PARAMETERS:
        return [tuple(TimedLevel(level, config, config) for level, config in named)]
    return [(TimedLevel(level, reduced(config), config),) for level, config in named]


def reduced(config: PriorConfig) -> PriorConfig:
    """The same prior with one block, one condition block and as many layers as fit; unchanged where it fits whole."""
    if parameters(config) <= MOST_PARAMETERS:
        return config
    found = dataclasses.replace(config, blocks=1, condition_blocks=min(1, config.condition_blocks))
    while parameters(found) > MOST_PARAMETERS and found.residual_blocks > 1:
        found = dataclasses.replace(found, residual_blocks=found.residual_blocks - 1)
    return found


def build(name: str, levels: tuple[TimedLevel, ...], folder: Path) -> Part:
    """Writes one part of a hierarchy. Weights are random, but the default bundle keeps its own beside them."""
    return write_part(Part(folder, hierarchy(name).vqvae, levels, same_weights=name != DEFAULT))


def write_part(part: Part) -> Part:
    """Writes random weights, and the bundle of them; or the default bundle where it has weights of its own."""
    part.folder.mkdir(parents=True)
    torch.manual_seed(0)
    save_checkpoint(part.checkpoint("vqvae"), Checkpoint(part.vqvae, _weights(Vqvae(part.vqvae))))
    for level in part.levels:
        save_checkpoint(part.checkpoint(level.name), Checkpoint(level.config, _weights(PixelSnail(level.config))))
    if part.same_weights:
        there = {level.name for level in part.levels}
        priors = [load_checkpoint(part.checkpoint(v)) if v in there else None for v in part.vqvae.level_names]
        write_bundle(part.bundle, BundleSource(load_checkpoint(part.checkpoint("vqvae")), priors))
    else:
        default = Bundle.default()
        part.bundle.mkdir()
        for file in ("manifest.json", *default.manifest.files):
            shutil.copy(default.path / file, part.bundle / file)
    part.write()
    return part


def load_prior(part: Part, level: TimedLevel) -> PixelSnail:
    """The prior as a PyTorch module, from its checkpoint."""
    path = part.checkpoint(level.name)
    return build_prior(load_checkpoint(path), path)


def load_vqvae(part: Part) -> Vqvae:
    """The VQ-VAE as a PyTorch module, from its checkpoint."""
    path = part.checkpoint("vqvae")
    return build_vqvae(load_checkpoint(path), path)


def _weights(model: nn.Module) -> Weights:
    return {name: value.numpy() for name, value in model.state_dict().items()}
