"""Nearest neighbours by Euclidean distance, and the precision and recall that they tell (arXiv:1904.06991)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.floating]  # [N, D]; distances are computed in float32 or float64, as these are
BLOCK = 1024  # vectors compared at once with all others: 2000 x 1024 distances are 8 MB
K = 3  # the neighbour that a manifold's radius reaches, as in the paper


def nearest(queries: Vectors, points: Vectors, count: int) -> tuple[Vectors, NDArray[np.int64]]:
    """The ``count`` nearest of points [M, D] to each query [N, D], M at least ``count``, nearest first.

    Returns distances [N, count] in the queries' dtype, and indices [N, count]; of equally near ones, any may be taken.
    """
    distances = np.full((len(queries), count), np.inf, queries.dtype)
    indices = np.zeros((len(queries), count), np.int64)
    rows = np.arange(len(queries))[:, None]
    for part, squares in _squared_distances(queries, points):
        values = np.concatenate([distances, squares], 1)
        best = np.argpartition(values, count - 1, 1)[:, :count]
        best = best[rows, np.argsort(values[rows, best], 1, kind="stable")]
        known = indices[rows, np.minimum(best, count - 1)]
        indices = np.where(best < count, known, best - count + part.start)
        distances = values[rows, best]
    return np.sqrt(distances), indices


def precision_recall(real: Vectors, generated: Vectors, k: int = K) -> tuple[float, float]:
    """Features [N, F] and [M, F], both more than ``k`` -> precision and recall, 0 to 1.

    Precision is the share of generated ones within the manifold of the real ones, recall the share of real ones
    within the manifold of the generated ones. A manifold is all that is no farther from one of a set than that one's
    k-th neighbour in the set.
    """
    return _within(real, generated, k), _within(generated, real, k)


def _within(of: Vectors, others: Vectors, k: int) -> float:
    """The share of ``others`` [M, F] within the manifold of ``of`` [N, F]."""
    radii = nearest(of, of, k + 1)[0][:, k]  # the nearest of all is itself
    inside = np.zeros(len(others), bool)
    for part, squares in _squared_distances(others, of):
        inside |= (squares <= np.square(radii[part])).any(1)
    return float(inside.mean())


def _squared_distances(queries: Vectors, points: Vectors) -> Iterator[tuple[slice, Vectors]]:
    """A block of points [m, D] at a time: which they are, and |q|² + |p|² - 2 qp with each query, [N, m]."""
    centre = points.mean(0, dtype=np.float64).astype(queries.dtype)  # about it, the terms are small and cancel less
    queries = queries - centre
    own = np.square(queries).sum(1)[:, None]
    for start in range(0, len(points), BLOCK):
        part = slice(start, min(start + BLOCK, len(points)))
        block = points[part] - centre
        squares = queries @ block.T
        squares *= -2
        squares += own
        squares += np.square(block).sum(1)
        yield part, np.maximum(squares, 0, out=squares)
