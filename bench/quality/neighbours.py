"""Nearest neighbours by Euclidean distance, and precision and recall computed from them (arXiv:1904.06991)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.floating]  # [N, D], float32 or float64; distances are computed in the same dtype
BLOCK = 1024  # vectors compared at once with all others: 2000 x 1024 distances are 8 MB
K = 3  # the neighbour whose distance is a manifold's radius, as in the paper


def nearest(queries: Vectors, points: Vectors, count: int) -> tuple[Vectors, NDArray[np.int64]]:
    """Finds the ``count`` nearest of points [M, D] to each query [N, D], nearest first; M at least ``count``.

    Returns distances [N, count] in the queries' dtype, and indices [N, count]. The order of ties is undefined.
    """
    distances = np.full((len(queries), count), np.inf, queries.dtype)
    indices = np.zeros((len(queries), count), np.int64)
    rows = np.arange(len(queries))[:, None]
    for part, squares in _squared_distances(queries, points):
        values = np.concatenate([distances, squares], 1)
        best = np.argpartition(values, count - 1, 1)[:, :count]
        best = best[rows, np.argsort(values[rows, best], 1, kind="stable")]
        previous = indices[rows, np.minimum(best, count - 1)]
        indices = np.where(best < count, previous, best - count + part.start)
        distances = values[rows, best]
    return np.sqrt(distances), indices


def precision_recall(real: Vectors, generated: Vectors, k: int = K) -> tuple[float, float]:
    """Features [N, F] and [M, F], N and M larger than ``k`` -> precision and recall, 0 to 1.

    Precision is the share of generated features within the manifold of the real ones, recall the share of real
    features within the manifold of the generated ones. A set's manifold is the union of balls around its members; the
    radius of each ball is the distance to the member's k-th neighbour in the set.
    """
    return _share_within(real, generated, k), _share_within(generated, real, k)


def _share_within(members: Vectors, others: Vectors, k: int) -> float:
    """Returns the share of ``others`` [M, F] within the manifold of ``members`` [N, F]."""
    radii = nearest(members, members, k + 1)[0][:, k]  # index 0 is the member itself
    inside = np.zeros(len(others), bool)
    for part, squares in _squared_distances(others, members):
        inside |= (squares <= np.square(radii[part])).any(1)
    return float(inside.mean())


def _squared_distances(queries: Vectors, points: Vectors) -> Iterator[tuple[slice, Vectors]]:
    """Yields, for blocks of m points, their slice and squared distances |q|² + |p|² - 2 qp to each query, [N, m]."""
    centre = points.mean(0, dtype=np.float64).astype(queries.dtype)  # subtracting it reduces cancellation
    queries = queries - centre
    norms = np.square(queries).sum(1)[:, None]
    for start in range(0, len(points), BLOCK):
        part = slice(start, min(start + BLOCK, len(points)))
        block = points[part] - centre
        squares = queries @ block.T
        squares *= -2
        squares += norms
        squares += np.square(block).sum(1)
        yield part, np.maximum(squares, 0, out=squares)
