"""The bundle's classifier on images: its accuracy, and the similarity of its features between two sets."""

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
    """True and predicted classes [N] -> shares of correct predictions, in all and by class (None without images).

    ``confusion`` counts images, with a row for each true class and a column for each predicted class.
    """
    confusion = np.zeros((len(names), len(names)), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    correct, total = confusion.diagonal().tolist(), confusion.sum(1).tolist()
    return {
        "accuracy": float((labels == predicted).mean()),
        "classes": {name: c / n if n else None for name, c, n in zip(names, correct, total, strict=True)},
        "confusion": confusion.tolist(),
    }


def likeness(real: NDArray[np.float64], others: NDArray[np.float64]) -> dict[str, float]:
    """Compares the distributions of features: ``real`` and ``others`` [N, F], equally many of each."""
    precision, recall = precision_recall(real, others)
    return {"frechet_distance": frechet_distance(real, others), "precision": precision, "recall": recall}
