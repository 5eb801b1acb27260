"""A balanced selection of images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def select_evenly(count: int, n: int, labels: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Returns ascending indices of at most ``n`` of ``count`` images.

    Without labels, they are evenly spaced. With labels [count], of each class as many as of every other, or all that
    there are, evenly spaced among those of the class; if n cannot be divided evenly, some have one more: classes that
    are evenly spaced, too, so that fewer images than classes are of classes from all over the list.
    """
    if n >= count:
        return np.arange(count)
    if labels is None:
        return np.arange(n) * count // n
    available = np.bincount(labels)
    of_each = int(np.sort(ranks(labels))[n])  # images that every class has, if it has as many
    wanted = np.minimum(available, of_each)
    more, rest = np.flatnonzero(available > of_each), n - int(wanted.sum())
    wanted[more[np.arange(rest) * len(more) // max(rest, 1)]] += 1
    chosen = [
        np.flatnonzero(labels == label)[np.arange(k) * np.count_nonzero(labels == label) // k]
        for label, k in enumerate(wanted.tolist())
        if k
    ]
    return np.sort(np.concatenate(chosen))


def interleaved(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the labels [N] in rounds: one of each class, then the next of each class, until all are used."""
    return labels[np.lexsort((labels, ranks(labels)))]


def ranks(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns for each label [N] how many equal labels precede it."""
    result = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        result[labels == label] = np.arange(np.count_nonzero(labels == label))
    return result
