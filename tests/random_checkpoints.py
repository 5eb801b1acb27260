"""Checkpoints of random weights, written tensor by tensor: also those of models that are larger than the memory.

The whole of a preset, or some of its levels: python tests/random_checkpoints.py paper-1024 FOLDER [LEVEL ...]
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from latentloop.export.checkpoints.checkpoint import Checkpoint, save_checkpoint
from latentloop.export.checkpoints.lazy_arrays import LazyArray, LazyWeights, Shape
from latentloop.export.configuration import PriorConfig, VqvaeConfig
from latentloop.export.models.pixelsnail import PixelSnail
from latentloop.export.models.presets import preset
from latentloop.export.models.vqvae import Vqvae


def save_random(path: Path, config: PriorConfig | VqvaeConfig) -> None:
    """Writes a checkpoint of random weights, which keep the variance of activations. Replaces the file."""
    with torch.device("meta"):
        network = PixelSnail(config) if isinstance(config, PriorConfig) else Vqvae(config)
        shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    arrays = {name: LazyArray(shape, partial(_random, shape, n)) for n, (name, shape) in enumerate(shapes.items())}
    save_checkpoint(path, Checkpoint(config, LazyWeights(arrays)), force=True)


def _random(shape: Shape, seed: int) -> NDArray[np.float32]:
    values = np.random.default_rng(seed).standard_normal(shape, np.float32)
    values *= np.float32(0.01 if len(shape) == 1 else np.prod(shape[1:]) ** -0.5)
    return values


if __name__ == "__main__":
    networks, folder = preset(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    save_random(folder / "vqvae.safetensors", networks.vqvae)
    for level, prior in zip(networks.vqvae.level_names, networks.priors, strict=True):
        if level in (sys.argv[3:] or networks.vqvae.level_names):
            save_random(folder / f"{level}.safetensors", prior)
