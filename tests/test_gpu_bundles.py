"""Bundles of many shapes on the fake GPU: odd widths, narrow grids, large kernels, one to three levels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CLASS_NAMES
from gpu_machines import Machines, backend, check_images, check_same, with_engines
from random_models import CLASSES, plain_weights, random_prior, random_vqvae

from latentloop import Bundle, Sampler
from latentloop.export.bundle import BundleSource, write_bundle
from latentloop.export.checkpoints.checkpoint import Checkpoint
from latentloop.export.configuration import PriorConfig, VqvaeConfig
from latentloop.sampling.verification import verify

CODES = 11
SIZES: dict[str, Any] = {"codebook_size": CODES, "channels": 16, "residual_channels": 12, "blocks": 2}
CONDITION: dict[str, Any] = {"condition_codes": CODES, "condition_channels": 6, "condition_blocks": 1}
PLAIN: dict[str, Any] = {**SIZES, "residual_blocks": 1, "attention": False}
ATTENTION: dict[str, Any] = {**SIZES, "residual_blocks": 2, "heads": 2}

BUNDLES: dict[str, list[PriorConfig | None]] = {
    "one step per row": [
        PriorConfig(5, 2, kernel=3, **ATTENTION),
        PriorConfig(10, 4, kernel=5, **CONDITION, **PLAIN),
    ],
    "one column per step": [
        PriorConfig(5, 3, kernel=3, output_blocks=1, **ATTENTION, **CLASSES),
        PriorConfig(10, 6, kernel=3, **CONDITION, **ATTENTION, **CLASSES),
    ],
    "kernels larger than the grid": [
        PriorConfig(3, 1, kernel=7, **ATTENTION),
        PriorConfig(6, 2, kernel=9, **CONDITION, **PLAIN),
    ],
    "three levels": [
        PriorConfig(1, 3, kernel=5, **PLAIN),
        PriorConfig(2, 6, kernel=3, **CONDITION, **ATTENTION),
        PriorConfig(4, 12, kernel=7, **CONDITION, **PLAIN),
    ],
    "one level": [PriorConfig(7, 4, kernel=3, **ATTENTION, **CLASSES)],
    "a top without a prior": [None, PriorConfig(4, 6, kernel=5, **CONDITION, **PLAIN)],
}


def write_random_bundle(priors: list[PriorConfig | None], folder: Path) -> Path:
    vqvae = VqvaeConfig(
        levels=len(priors), bottom_stride=2, channels=16, residual_channels=8, code_channels=8, codebook_size=CODES
    )
    checkpoints = [
        None if config is None else Checkpoint(config, plain_weights(random_prior(config))) for config in priors
    ]
    classes = CLASS_NAMES if any(config and config.classes for config in priors) else ()
    write_bundle(
        folder, BundleSource(Checkpoint(vqvae, plain_weights(random_vqvae(vqvae))), checkpoints, classes=classes)
    )
    return folder


SLOW = ("one column per step", "three levels")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in BUNDLES]
)
def test_samples_equal_the_cpus(tmp_path: Path, machines: Machines, name: str) -> None:
    priors = BUNDLES[name]
    folder = with_engines(write_random_bundle(priors, tmp_path / "bundle"), tmp_path / "engines", max_batch=3)
    cpu = Sampler(Bundle.open(folder), "cpu", threads=1)
    level = cpu.bundle.manifest.levels[0]
    upper = np.random.default_rng(0).integers(0, CODES, (3, level.height, level.width))
    given = {} if priors[0] else {"given": {level.name: upper}}
    for device, early in (("tensorrt", True), ("cuda", False)):
        machines(early=early)
        sampler = Sampler(Bundle.open(folder), device)
        for settings in ({}, {"top_k": 4}, {"batch_size": 2}, {}):
            arguments: dict[str, Any] = {"n": 3, "seeds": 4, **given, **settings}
            check_same(sampler.sample(**arguments), cpu.sample(**arguments), (device, settings))
        assert [check for check in verify(sampler) if not check.passed] == []
        for number, config in enumerate(priors):
            captures = backend(sampler).captures()
            if config is not None and device == "tensorrt":
                name = cpu.bundle.manifest.levels[number].name
                assert captures[name] <= config.height + 2 * (config.kernel - 1)


def test_a_bundle_without_priors(grey_bundle: Path, tmp_path: Path, machines: Machines, device: str) -> None:
    folder = with_engines(grey_bundle, tmp_path / "engines")
    machines(seed=1)
    sampler, cpu = Sampler(Bundle.open(folder), device), Sampler(Bundle.open(folder), "cpu")
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 1), np.uint8)
    codes = cpu.encode(images)
    for name, values in codes.items():
        np.testing.assert_array_equal(sampler.encode(images)[name], values)
    check_images(sampler.decode(codes), cpu.decode(codes))
    check_same(sampler.sample(3, given=codes), cpu.sample(3, given=codes))
