"""What a bundle's classifier makes of images: its features, and how often it finds the class asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.bench.quality.frechet import frechet_distance
from latentloop.bench.quality.neighbours import precision_recall
from latentloop.cli.progress import parts
from latentloop.sampling.sampler import Sampler


def recognise(sampler: Sampler, images: NDArray[np.uint8], what: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Images uint8 [N, H, W, C], N at least 1 -> the most probable class of each [N], and features [N, F]."""
    found = [sampler.classify(images[part]) for part in parts(len(images), f"classify {what}")]
    classes = np.concatenate([of.probabilities.argmax(1) for of in found])
    return classes, np.concatenate([of.features for of in found]).astype(np.float64)


def accuracy(labels: NDArray[np.int64], found: NDArray[np.int64], names: tuple[str, ...]) -> dict[str, Any]:
    """True and found classes [N] -> shares found right, in all and by class (null where there is no image of one).

    ``confusion`` counts images, a row for each true class, a column for each found one.
    """
    confusion = np.zeros((len(names), len(names)), np.int64)
    np.add.at(confusion, (labels, found), 1)
    right, total = confusion.diagonal().tolist(), confusion.sum(1).tolist()
    return {
        "accuracy": float((labels == found).mean()),
        "classes": {name: r / of if of else None for name, r, of in zip(names, right, total, strict=True)},
        "confusion": confusion.tolist(),
    }


def likeness(real: NDArray[np.float64], others: NDArray[np.float64]) -> dict[str, float]:
    """How much ``others`` are distributed as ``real`` is: features [N, F], as many of each."""
    precision, recall = precision_recall(real, others)
    return {"frechet_distance": frechet_distance(real, others), "precision": precision, "recall": recall}
