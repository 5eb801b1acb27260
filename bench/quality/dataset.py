"""The images that a bundle is measured on: data of its own size and classes, and a fair choice of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentloop.bundles.manifest import Manifest
from latentloop.errors import InputError
from latentloop.export.train.data.datasets import Data, Dataset, load_data

SEED = 0  # of the order that images are chosen in


def load_for(manifest: Manifest, folder: Path) -> Data:
    """The data set at the bundle's size, in colour or grey as its images are.

    Raises InputError for a bundle of other than square images, and for classes that do not fit the bundle's.
    """
    height, width, channels = manifest.image
    if height != width:
        raise InputError(f"--data serves square images only, the bundle's are {height} x {width}")
    data = load_data(folder, height, image_channels=channels)
    if not manifest.classes:
        return data
    if data.held_out.labels is None:
        raise InputError(f"{folder}: images without classes, but the bundle's priors are given one: use class folders")
    if len(data.classes) != len(manifest.classes):
        raise InputError(
            f"{folder}: {len(data.classes)} classes, but the bundle has {len(manifest.classes)}: "
            "give the data that it was trained on"
        )
    return data


def in_turn(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same labels [N], one of each class after the other as long as there are some."""
    return labels[np.lexsort((labels, _places(labels)))]


def _places(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of each label [N] its place among those of its class."""
    places = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        places[labels == label] = np.arange(np.count_nonzero(labels == label))
    return places


def choose(part: Dataset, count: int, like: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Ascending indices of at most ``count`` images, as equally many of each class as there are.

    ``like`` [count]: labels whose counts by class to take instead, as far as there are so many. Which ones of a class
    is drawn by lot, the same each time.
    """
    order = np.random.default_rng(SEED).permutation(len(part))
    labels = np.zeros(len(part), np.int64) if part.labels is None else part.labels[order]
    places = _places(labels)
    if like is not None and part.labels is not None:
        wanted = np.bincount(like, minlength=int(labels.max()) + 1)
        places = np.where(places < wanted[labels], -1, places)
    chosen: NDArray[np.int64] = np.sort(order[np.argsort(places, kind="stable")[:count]])
    return chosen
