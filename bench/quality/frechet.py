"""The Fréchet distance between two sets of features, each taken as a normal distribution (arXiv:1706.08500)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def frechet_distance(features: NDArray[np.floating], others: NDArray[np.floating]) -> float:
    """Between features [N, F] and [M, F]; N and M at least 2.

    It grows as N and M shrink, also where both are of one distribution: compare distances of equal numbers only.
    """
    return between_normals(*moments(features), *moments(others))


def moments(features: NDArray[np.floating]) -> tuple[Floats, Floats]:
    """Features [N, F], N at least 2 -> their mean [F] and their covariance [F, F], in float64."""
    values = features.astype(np.float64)
    return values.mean(0), np.cov(values, rowvar=False).reshape(values.shape[1], values.shape[1])


def between_normals(mean: Floats, covariance: Floats, other_mean: Floats, other_covariance: Floats) -> float:
    """|m - n|² + tr(A) + tr(B) - 2 tr((AB)^½): means m, n [F], symmetric covariances A, B [F, F] -> the distance, at
    least 0.

    AB has the eigenvalues of A^½ B A^½, which is symmetric: it needs no root of a general matrix.
    """
    root = _root(covariance)
    product = np.linalg.eigvalsh(root @ other_covariance @ root)
    traces = np.trace(covariance) + np.trace(other_covariance) - 2 * np.sqrt(np.maximum(product, 0)).sum()
    return max(0.0, float(np.square(mean - other_mean).sum() + traces))  # rounding may leave it just under 0


def _root(matrix: Floats) -> Floats:
    """The symmetric root of a symmetric matrix [F, F] without negative eigenvalues but by rounding."""
    values, vectors = np.linalg.eigh(matrix)
    found: Floats = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return found
