"""Models to measure, as checkpoints and bundles on disk: a preset's random weights, or the default bundle.

All implementations of one run load the same files. A hierarchy too large for memory is divided into one part per
level, each with fewer layers; every result of it is scaled to the full depth and says so.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import torch
from torch import nn

from latentloop import Bundle
from latentloop.bench.workload.arithmetic import parameters
from latentloop.bench.workload.part import Part, TimedLevel
from latentloop.errors import InputError
from latentloop.export.bundle import BundleSource, write_bundle
from latentloop.export.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from latentloop.export.checkpoints.lazy_arrays import Weights
from latentloop.export.configuration import PriorConfig, VqvaeConfig, from_json
from latentloop.export.models.build import build_prior, build_vqvae
from latentloop.export.models.pixelsnail import PixelSnail
from latentloop.export.models.presets import PRESETS, Preset
from latentloop.export.models.vqvae import Vqvae

DEFAULT = "default"  # the bundle installed with LatentLoop
MAX_PARAMETERS = 300_000_000  # of priors in one part: baselines hold their weights in memory, in float32


def hierarchy(name: str) -> Preset:
    """Returns the networks of a preset or of the default bundle. Raises InputError that lists the names."""
    if name != DEFAULT:
        if name not in PRESETS:
            raise InputError(
                f"no preset {name!r}, expected one of {', '.join(PRESETS)}, or {DEFAULT} for the default bundle"
            )
        return PRESETS[name]
    models = Bundle.default().manifest.provenance["models"]
    vqvae = from_json(VqvaeConfig, models["vqvae"]["configuration"], "the default bundle")
    priors = (from_json(PriorConfig, models[level]["configuration"], level) for level in vqvae.level_names)
    return Preset(vqvae, tuple(priors))


def split(name: str) -> list[tuple[TimedLevel, ...]]:
    """Returns the levels of each part to measure: one part if the hierarchy fits, otherwise one per level, reduced."""
    networks = hierarchy(name)
    priors = list(zip(networks.vqvae.level_names, networks.priors, strict=True))
    if sum(parameters(config) for _, config in priors) <= MAX_PARAMETERS:
        return [tuple(TimedLevel(level, config, config) for level, config in priors)]
    return [(TimedLevel(level, reduced(config), config),) for level, config in priors]


def reduced(config: PriorConfig) -> PriorConfig:
    """Returns the prior with one block, one condition block and as many layers as fit; unchanged if it fits whole."""
    if parameters(config) <= MAX_PARAMETERS:
        return config
    smaller = dataclasses.replace(config, blocks=1, condition_blocks=min(1, config.condition_blocks))
    while parameters(smaller) > MAX_PARAMETERS and smaller.residual_blocks > 1:
        smaller = dataclasses.replace(smaller, residual_blocks=smaller.residual_blocks - 1)
    return smaller


def build(name: str, levels: tuple[TimedLevel, ...], folder: Path) -> Part:
    """Writes one part of a hierarchy. The bundle of the default hierarchy has its own weights, not the random ones."""
    return write_part(Part(folder, hierarchy(name).vqvae, levels, same_weights=name != DEFAULT))


def write_part(part: Part) -> Part:
    """Writes checkpoints of random weights, and their bundle or, without ``same_weights``, the default bundle."""
    part.folder.mkdir(parents=True)
    torch.manual_seed(0)
    save_checkpoint(part.checkpoint("vqvae"), Checkpoint(part.vqvae, _weights(Vqvae(part.vqvae))))
    for level in part.levels:
        save_checkpoint(part.checkpoint(level.name), Checkpoint(level.config, _weights(PixelSnail(level.config))))
    if part.same_weights:
        names = {level.name for level in part.levels}
        priors = [load_checkpoint(part.checkpoint(v)) if v in names else None for v in part.vqvae.level_names]
        write_bundle(part.bundle, BundleSource(load_checkpoint(part.checkpoint("vqvae")), priors))
    else:
        default = Bundle.default()
        part.bundle.mkdir()
        for file in ("manifest.json", *default.manifest.files):
            shutil.copy(default.path / file, part.bundle / file)
    part.write()
    return part


def load_prior(part: Part, level: TimedLevel) -> PixelSnail:
    """Returns the prior as a PyTorch module, loaded from its checkpoint."""
    path = part.checkpoint(level.name)
    return build_prior(load_checkpoint(path), path)


def load_vqvae(part: Part) -> Vqvae:
    """Returns the VQ-VAE as a PyTorch module, loaded from its checkpoint."""
    path = part.checkpoint("vqvae")
    return build_vqvae(load_checkpoint(path), path)


def _weights(model: nn.Module) -> Weights:
    return {name: value.numpy() for name, value in model.state_dict().items()}
