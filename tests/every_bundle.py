"""Bundles of every kind, for hosts that must draw the same codes: grids, kernels, conditions, forward passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CLASS_NAMES
from made_once import made_once
from numpy.typing import NDArray
from random_models import CLASSES, SMALL, plain_weights, random_prior, random_vqvae
from test_gpu_bundles import BUNDLES, write_random_bundle

from latentloop import Bundle
from latentloop.export.bundle import BundleSource, write_bundle
from latentloop.export.checkpoints.checkpoint import Checkpoint
from latentloop.export.configuration import PriorConfig, VqvaeConfig

NAMES = ("default", "small", "in place", *BUNDLES)
SEEDS = [5, 2**40 + 3, 2**64 - 1]


def bundle_folder(name: str, small_bundle: Path, folders: pytest.TempPathFactory) -> Path:
    """Returns the folder of the bundle with one of the names ``NAMES``."""
    if name == "default":
        return Bundle.default().path
    if name == "small":
        return small_bundle
    if name == "in place":
        return made_once(folders, "inplace", write_inplace_bundle)
    return made_once(folders, name.replace(" ", "-"), lambda path: write_random_bundle(BUNDLES[name], path))


def write_inplace_bundle(folder: Path) -> Path:
    """Writes a bundle of models of the older forward pass: pairs of rows, attention, an odd and an even width."""
    condition: dict[str, Any] = {"condition_codes": 11, "condition_channels": 6, "condition_blocks": 1}
    configs = (
        PriorConfig(4, 5, kernel=5, output_blocks=1, inplace=True, **CLASSES, **SMALL),
        PriorConfig(8, 10, kernel=5, attention=False, inplace=True, **condition, **CLASSES, **SMALL),
    )
    vqvae = VqvaeConfig(channels=16, residual_channels=8, code_channels=8, codebook_size=11, inplace=True)
    priors = [Checkpoint(config, plain_weights(random_prior(config))) for config in configs]
    model = Checkpoint(vqvae, plain_weights(random_vqvae(vqvae)))
    write_bundle(folder, BundleSource(model, priors, classes=CLASS_NAMES))
    return folder


def given_codes(bundle: Bundle, n: int) -> dict[str, NDArray[np.int64]]:
    """Returns codes of the levels that cannot be drawn."""
    rng = np.random.default_rng(0)
    return {
        level.name: rng.integers(0, level.codebook_size, (n, level.height, level.width))
        for level in bundle.manifest.levels
        if level.prior is None
    }
