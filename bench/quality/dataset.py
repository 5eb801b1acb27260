"""The images that a bundle is measured with: a data set of its size and classes, and a balanced selection."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentloop.bundles.manifest import Manifest
from latentloop.errors import InputError
from latentloop.evaluation.selection import ranks
from latentloop.export.data.datasets import Data, Dataset, load_data

SEED = 0  # of the order in which images are selected


def load_for(manifest: Manifest, folder: Path) -> Data:
    """Loads the data set at the bundle's image size, in colour or grey like its images.

    Raises InputError if the bundle's images are not square, or if its classes do not match the data's.
    """
    height, width, channels = manifest.image
    if height != width:
        raise InputError(f"--data supports square images only, the bundle's are {height} x {width}")
    data = load_data(folder, height, image_channels=channels)
    if not manifest.classes:
        return data
    if data.held_out.labels is None:
        raise InputError(f"{folder}: images without classes, but the bundle's priors need one: use class folders")
    if len(data.classes) != len(manifest.classes):
        raise InputError(
            f"{folder}: {len(data.classes)} classes, but the bundle has {len(manifest.classes)}: "
            "use the data that it was trained on"
        )
    return data


def select(part: Dataset, count: int, like: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Returns ascending indices of at most ``count`` images, balanced over the classes.

    ``like`` [count]: labels whose counts by class are matched instead, if the part has enough images. The selection
    within a class is random with a fixed seed.
    """
    order = np.random.default_rng(SEED).permutation(len(part))
    labels = np.zeros(len(part), np.int64) if part.labels is None else part.labels[order]
    order_in_class = ranks(labels)
    if like is not None and part.labels is not None:
        wanted = np.bincount(like, minlength=int(labels.max()) + 1)
        order_in_class = np.where(order_in_class < wanted[labels], -1, order_in_class)
    indices: NDArray[np.int64] = np.sort(order[np.argsort(order_in_class, kind="stable")[:count]])
    return indices
