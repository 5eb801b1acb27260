"""Reference implementation of the nearest codeword, in float64 NumPy. All kernels are tested against it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

_BLOCK = 2**22  # differences that are computed at once, so that memory does not grow with N x K
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Reference:
    """The nearest codeword of each vector, and the distance of the second nearest."""

    index: NDArray[np.int64]  # [N], the lowest on ties; -1: the vector has no nearest codeword
    distance: NDArray[np.float64]  # [N], squared Euclidean; NaN where index is -1
    runner_up: NDArray[np.float64]  # [N], of the second nearest codeword; infinite if there is no other, NaN as above


def nearest_reference(z: ArrayLike, codebook: ArrayLike) -> Reference:
    """Returns argmin_k of sum_d (z_d - e_kd)^2 for each of z [N, D] and a codebook [K, D].

    A vector has no nearest codeword if its squared norm is not finite in float32. A codeword is never the nearest if
    half of its squared norm is not finite in float32. Raises ValueError for invalid shapes.
    """
    vectors, codewords = np.asarray(z, np.float64), np.asarray(codebook, np.float64)
    if vectors.ndim != 2 or codewords.ndim != 2 or vectors.shape[1] != codewords.shape[1] or not len(codewords):
        raise ValueError(
            f"z is {list(vectors.shape)}, codebook {list(codewords.shape)}, expected [N, D] and [K > 0, D]"
        )
    n = len(vectors)
    index, distance, runner_up = np.full(n, -1, np.int64), np.full(n, np.nan), np.full(n, np.nan)
    with np.errstate(invalid="ignore", over="ignore"):
        present = np.flatnonzero(np.square(vectors).sum(1) <= _LARGEST)
        eligible = np.flatnonzero(np.square(codewords).sum(1) / 2 <= _LARGEST)
    if not len(eligible):
        return Reference(index, distance, runner_up)
    step = max(1, _BLOCK // max(1, eligible.size * codewords.shape[1]))
    for begin in range(0, len(present), step):
        part = present[begin : begin + step]
        squared = np.square(vectors[part, None] - codewords[eligible][None]).sum(2)  # [step, K]
        rows, nearest = np.arange(len(squared)), squared.argmin(1)  # the first of equal distances
        index[part], distance[part] = eligible[nearest], squared[rows, nearest]
        squared[rows, nearest] = np.inf
        runner_up[part] = squared.min(1)
    return Reference(index, distance, runner_up)
