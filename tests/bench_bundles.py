"""A bundle of square images and data for it, for tests of `latentloop bench quality` and `samples`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from command_line import pixels
from conftest import vqvae_checkpoint
from PIL import Image
from random_models import CLASSES, SMALL, plain_weights, random_prior

from latentloop.export.bundle import BundleSource, write_bundle
from latentloop.export.checkpoints.checkpoint import Checkpoint
from latentloop.export.configuration import ClassifierConfig, PriorConfig
from latentloop.export.models.classifier import Classifier

NAMES = ("ice", "lava", "ocean")


def write_square_bundle(path: Path, *, classifier: bool) -> None:
    """Writes a bundle with random weights: RGB images of 16 x 16, codes of 2 x 2 and 4 x 4, three classes."""
    codes: dict[str, Any] = {"condition_codes": 11, "condition_channels": 6, "condition_blocks": 1}
    configs = (
        PriorConfig(2, 2, kernel=3, attention=False, **CLASSES, **SMALL),
        PriorConfig(4, 4, kernel=3, attention=False, **codes, **CLASSES, **SMALL),
    )
    priors = [Checkpoint(config, plain_weights(random_prior(config))) for config in configs]
    torch.manual_seed(0)
    config = ClassifierConfig(height=16, width=16, classes=3, channels=4, groups=2, stages=2)
    checkpoint = Checkpoint(config, plain_weights(Classifier(config))) if classifier else None
    write_bundle(path, BundleSource(vqvae_checkpoint(image_channels=3), priors, classes=NAMES, classifier=checkpoint))


def write_class_folders(folder: Path, *, training: int, held_out: int) -> None:
    """Writes images of noise, the classes in turn, into the parts ``train`` and ``test``."""
    generator = np.random.default_rng(0)
    for part, count in (("train", training), ("test", held_out)):
        for index in range(count):
            class_folder = folder / part / NAMES[index % 3]
            class_folder.mkdir(parents=True, exist_ok=True)
            noise = generator.integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(noise).save(class_folder / f"{index:03}.png")


def read_class_folders(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Returns the images of one part and their labels, in the order of a data set."""
    files = sorted(folder.glob("*/*.png"))
    return np.stack([pixels(file) for file in files]), np.array([NAMES.index(file.parent.name) for file in files])
