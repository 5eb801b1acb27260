"""Small training runs for tests: commands and images."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from latentloop.export.commands import train
from latentloop.export.configuration import VqvaeConfig

SMALL = VqvaeConfig(
    image_channels=1, channels=16, residual_channels=8, residual_layers=1, code_channels=4, codebook_size=16
)
VQVAE = (
    "vqvae --size 16 --channels 8 --residual-channels 4 --residual-layers 1 --code-channels 4"
    " --codebook-size 8 --image-channels 1 --batch 8 --unquantised-steps 2 --threads 1 --json --licence CC0-1.0"
)
PRIOR = (
    "prior --channels 16 --residual-channels 4 --kernel 3 --blocks 1 --residual-blocks 1 --heads 2"
    " --class-channels 4 --condition-blocks 1 --batch 8 --threads 1 --json --average 0.9"
)


def blobs(count: int, size: int = 16) -> NDArray[np.uint8]:
    """Returns images [count, size, size, 1] of a bright square at a random position."""
    generator = np.random.default_rng(0)
    images = np.zeros((count, size, size, 1), np.uint8)
    for image in images:
        y, x = generator.integers(0, size - 5, 2)
        image[y : y + 5, x : x + 5] = generator.integers(100, 256)
    return images


def write_blobs(folder: Path) -> Path:
    """Writes 24 images of ``blobs`` as PNG files in two classes, a and b; returns the folder."""
    for index, image in enumerate(blobs(24)):
        (folder / "ab"[index % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[:, :, 0]).save(folder / "ab"[index % 2] / f"{index:02}.png")
    return folder


def colours(count: int, size: int) -> NDArray[np.uint8]:
    """Returns images [count, size, size, 3] of smooth random colours, which need many different codes."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (count, size // 4, size // 4, 3)).astype(np.uint8)
    return np.stack(
        [np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)) for image in coarse]
    )


def parse(command: str, **paths: object) -> argparse.Namespace:
    """Parses arguments of ``latentloop train``. Every item of ``paths`` adds an option: its name and its value."""
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    options = [part for name, value in paths.items() for part in (f"--{name}", str(value))]
    return parser.parse_args([*command.split(), *options])
