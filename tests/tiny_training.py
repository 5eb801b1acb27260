"""Tiny trainings that the tests of the trainer share: commands, blobs to learn, and a trained VQ-VAE."""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from latentloop.export.commands import train
from latentloop.export.configuration import VqvaeConfig

SMALL = VqvaeConfig(
    image_channels=1, channels=16, residual_channels=8, residual_layers=1, code_channels=4, codebook_size=16
)
VQVAE = (
    "vqvae --size 16 --channels 8 --residual-channels 4 --residual-layers 1 --code-channels 4"
    " --codebook-size 8 --image-channels 1 --batch 8 --warm-up 2 --threads 1 --json --licence CC0-1.0"
)
PRIOR = (
    "prior --channels 16 --residual-channels 4 --kernel 3 --blocks 1 --residual-blocks 1 --heads 2"
    " --class-channels 4 --condition-blocks 1 --batch 8 --threads 1 --json --average 0.9"
)


def blobs(count: int, size: int = 16) -> NDArray[np.uint8]:
    """Bright squares at random places: images [count, size, size, 1] with something to learn."""
    generator = np.random.default_rng(0)
    images = np.zeros((count, size, size, 1), np.uint8)
    for image in images:
        y, x = generator.integers(0, size - 5, 2)
        image[y : y + 5, x : x + 5] = generator.integers(100, 256)
    return images


def parse(command: str, **paths: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    options = [part for name, value in paths.items() for part in (f"--{name}", str(value))]
    return parser.parse_args([*command.split(), *options])
