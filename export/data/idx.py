"""The parts of a data set in IDX files, with MNIST's names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentloop.errors import InputError
from latentloop.images.idx import find, read_images, read_labels

Pair = tuple[NDArray[np.uint8], NDArray[np.int64]]  # images [N, H, W], labels [N]


def is_data_set(folder: Path) -> bool:
    """Returns whether the folder has a training part in IDX files."""
    return any(find(folder, f"train-{name}") for name in ("images-idx3-ubyte", "labels-idx1-ubyte"))


def read_pair(folder: Path, prefix: str) -> Pair | None:
    """Returns the images [N, H, W] and labels [N] of ``prefix`` (train, t10k), or None if neither file exists.

    Raises InputError if one of the two files is missing or unreadable, or if their counts differ.
    """
    names = (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte")
    images, labels = (find(folder, name) for name in names)
    if images is None and labels is None:
        return None
    if images is None or labels is None:
        raise InputError(f"{folder}: {names[0] if images is None else names[1]}[.gz] is missing; both are needed")
    pair = read_images(images), read_labels(labels)
    if len(pair[0]) != len(pair[1]):
        raise InputError(f"{labels}: {len(pair[1])} labels, expected {len(pair[0])} as in {images.name}")
    return pair
