"""Inputs and checks for tests of the nearest codeword on the CPU."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from latentloop.kernels.nearest_codebook.reference import nearest_reference

Array = NDArray[np.float32]
EPSILON = float(np.finfo(np.float32).eps)
SPECIAL = (np.nan, np.inf, -np.inf, 3e38)
SHAPES = [(1, 1, 1), (1, 64, 16384), (2, 3, 2), (49, 5, 7), (99, 19, 33), (500, 64, 512), (48, 130, 100), (7, 512, 40)]


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def error(z: Array, codewords: Array) -> NDArray[np.float64]:
    """Returns the error bound of |z - e|^2 (nearest_codebook/arguments.h) for each vector and its codeword."""
    norm, other = (np.sqrt(np.square(x, dtype=np.float64).sum(1)) for x in (z, codewords))
    bound: NDArray[np.float64] = (z.shape[1] / 2 + 2) * EPSILON * (other**2 + 2 * norm * other)
    return bound


def check(z: Array, codebook: Array, index: NDArray[np.int64]) -> NDArray[np.float64]:
    """Checks that every index is the nearest within the error bound. Returns the exact distances."""
    expected = nearest_reference(z, codebook)
    assert index.dtype == np.int64
    assert index.shape == (len(z),)
    assert ((index >= 0) & (index < len(codebook))).all()
    distances: NDArray[np.float64] = np.square(z.astype(np.float64) - codebook[index]).sum(1)
    slack = error(z, codebook[index]) + error(z, codebook[expected.index])
    assert (distances <= expected.distance + slack).all(), (distances - expected.distance - slack).max()
    unambiguous: NDArray[np.bool_] = expected.runner_up - expected.distance > 2 * slack
    np.testing.assert_array_equal(index[unambiguous], expected.index[unambiguous])
    return distances
