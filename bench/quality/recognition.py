"""The bundle's classifier applied to images: its accuracy, and how similar the features of two sets of images are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.bench.quality.frechet import frechet_distance
from latentloop.bench.quality.neighbours import precision_recall
from latentloop.cli.progress import parts
from latentloop.sampling.sampler import Sampler


def recognise(sampler: Sampler, images: NDArray[np.uint8], what: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Images uint8 [N, H, W, C], N at least 1 -> the most probable class of each [N], and features [N, F].

    ``what`` names the images in the progress bar.
    """
    batches = [sampler.classify(images[part]) for part in parts(len(images), f"classify {what}")]
    classes = np.concatenate([batch.probabilities.argmax(1) for batch in batches])
    return classes, np.concatenate([batch.features for batch in batches]).astype(np.float64)


def accuracy(labels: NDArray[np.int64], predicted: NDArray[np.int64], names: tuple[str, ...]) -> dict[str, Any]:
    """True and predicted classes [N] -> shares of correct predictions, in total and by class.

    The share of a class without images is None. ``confusion`` counts images, with a row for each true class and a
    column for each predicted class.
    """
    confusion = np.zeros((len(names), len(names)), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    correct, total = confusion.diagonal().tolist(), confusion.sum(1).tolist()
    return {
        "accuracy": float((labels == predicted).mean()),
        "classes": {name: c / n if n else None for name, c, n in zip(names, correct, total, strict=True)},
        "confusion": confusion.tolist(),
    }


def compare_features(real: NDArray[np.float64], others: NDArray[np.float64]) -> dict[str, float]:
    """Returns how similar two distributions of features are: ``real`` and ``others``, both [N, F]."""
    precision, recall = precision_recall(real, others)
    return {"frechet_distance": frechet_distance(real, others), "precision": precision, "recall": recall}
