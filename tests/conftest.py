"""Bundles of small random models, made once per run of the tests."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import RGB, run
from embedded_bundles import Reader, build_reader
from embedded_bundles import refused as refused_by_both
from gpu_machines import default_engines, device, machines, small_engines
from made_once import made_once
from nearest_grid import compiler
from PIL import Image
from random_models import CLASSES, SMALL, plain_weights, random_classifier, random_prior, random_vqvae

from latentloop.export.bundle import BundleSource, write_bundle
from latentloop.export.checkpoints.checkpoint import Checkpoint
from latentloop.export.configuration import ClassifierConfig, PriorConfig, VqvaeConfig

__all__ = ["default_engines", "device", "machines", "small_engines"]  # fixtures

torch.set_num_threads(1)  # tiny models gain nothing from more, and lose where other processes run


def pytest_collection_finish() -> None:
    """Exempts what the imports made, above a million objects, from every later search of the garbage collector."""
    gc.collect()
    gc.freeze()


CLASS_NAMES = ("coat", "bag", "boot")


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two levels of 4 x 6 and 8 x 12 codes, three classes, RGB images of 32 x 48, and a classifier of them."""
    codes: dict[str, Any] = {"condition_codes": 11, "condition_channels": 6, "condition_blocks": 2}
    priors = [
        PriorConfig(4, 6, kernel=5, output_blocks=1, **CLASSES, **SMALL),
        PriorConfig(8, 12, kernel=5, attention=False, **codes, **CLASSES, **SMALL),
    ]
    checkpoints = [_checkpoint(config) for config in priors]
    judge = ClassifierConfig(height=32, width=48, classes=3, channels=4, stages=2, groups=2)
    classifier = Checkpoint(judge, plain_weights(random_classifier(judge)))
    vqvae = vqvae_checkpoint(image_channels=3)
    source = BundleSource(vqvae, checkpoints, classes=CLASS_NAMES, classifier=classifier)
    return made_once(tmp_path_factory, "small", lambda path: write_bundle(path, source))


@pytest.fixture(scope="session")
def grey_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VQ-VAE of two levels without priors: grey images of 16 x 16, codes of 2 x 2 and 4 x 4."""
    source = BundleSource(vqvae_checkpoint(image_channels=1), image=(16, 16))
    return made_once(tmp_path_factory, "grey", lambda path: write_bundle(path, source))


def vqvae_checkpoint(image_channels: int) -> Checkpoint:
    """Two levels of 11 codes, a bottom stride of 4."""
    config = VqvaeConfig(
        image_channels=image_channels, channels=16, residual_channels=8, code_channels=8, codebook_size=11
    )
    return Checkpoint(config, plain_weights(random_vqvae(config)))


def _checkpoint(config: PriorConfig) -> Checkpoint:
    weights = plain_weights(random_prior(config))
    return Checkpoint(config, {name: value.astype(np.float32) for name, value in weights.items()})


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that must end with the status given first, one line on stderr and nothing on stdout."""

    def check(status: int, *arguments: object) -> str:
        assert run(*arguments) == status
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("latentloop: error: ")
        assert err.count("\n") == 1
        return err

    return check


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three RGB images of 32 x 48."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(3):
        noise = np.random.default_rng(index).integers(0, 256, RGB, np.uint8)
        Image.fromarray(noise).save(folder / f"{index}.png")
    return folder


@pytest.fixture(scope="session")
def optional_reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader | None]:
    """The C++ reader of bundles; None without a compiler."""
    if compiler() is None:
        yield None
        return
    with Reader(made_once(tmp_path_factory, "bundle_reader", build_reader)) as reader:
        yield reader


@pytest.fixture
def reader(optional_reader: Reader | None) -> Reader:
    """The C++ reader of bundles."""
    if optional_reader is None:
        pytest.skip("no C++ compiler")
    return optional_reader


@pytest.fixture
def refused(optional_reader: Reader | None) -> Callable[[Path], str]:
    """Returns the text of the BundleError with which both readers of bundles must refuse the one in a folder."""
    return lambda bundle: refused_by_both(bundle, optional_reader)
