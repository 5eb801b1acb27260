"""The Fréchet distance between two sets of features, each modelled by a normal distribution (arXiv:1706.08500)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def frechet_distance(features: NDArray[np.floating], others: NDArray[np.floating]) -> float:
    """Returns the distance between features [N, F] and [M, F]; N and M at least 2.

    The estimate grows as N and M shrink, even for samples of one distribution: compare distances only if N and M are
    the same.
    """
    return between_normals(*moments(features), *moments(others))


def moments(features: NDArray[np.floating]) -> tuple[Floats, Floats]:
    """Features [N, F], N at least 2 -> mean [F] and covariance [F, F], in float64."""
    values = features.astype(np.float64)
    return values.mean(0), np.cov(values, rowvar=False).reshape(values.shape[1], values.shape[1])


def between_normals(mean: Floats, covariance: Floats, other_mean: Floats, other_covariance: Floats) -> float:
    """Returns |m - n|² + tr(A) + tr(B) - 2 tr((AB)^½), at least 0, for means m, n [F] and covariances A, B [F, F].

    AB has the same eigenvalues as A^½ B A^½, which is symmetric, so no root of a general matrix is needed.
    """
    root = _root(covariance)
    eigenvalues = np.linalg.eigvalsh(root @ other_covariance @ root)
    traces = np.trace(covariance) + np.trace(other_covariance) - 2 * np.sqrt(np.maximum(eigenvalues, 0)).sum()
    return max(0.0, float(np.square(mean - other_mean).sum() + traces))  # rounding can make the sum negative


def _root(matrix: Floats) -> Floats:
    """Returns the symmetric square root of a symmetric matrix [F, F]. Negative eigenvalues (rounding) count as 0."""
    values, vectors = np.linalg.eigh(matrix)
    root: Floats = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return root
