"""The nearest codeword of each vector, plainly, in float64 NumPy: what every kernel must equal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

_BLOCK = 2**22  # differences held at once, so that memory does not grow with N x K
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Reference:
    """Per vector: the index [N] int64 of the nearest codeword, lowest on ties, -1 where there is none; its squared
    Euclidean distance [N], and that of the next nearest other codeword (infinite where there is no other), float64,
    NaN for a vector without a nearest codeword.
    """

    index: NDArray[np.int64]
    distance: NDArray[np.float64]
    runner_up: NDArray[np.float64]


def nearest_reference(z: ArrayLike, codebook: ArrayLike) -> Reference:
    """The nearest of codebook [K, D] to each of z [N, D]: argmin_k of the sum of (z - e_k)^2, differences taken first.

    A vector whose squared norm is not finite in float32 has no nearest codeword; a codeword half of whose squared norm
    is not is never the nearest. Raises ValueError for shapes that do not fit.
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
        rows, nearest = np.arange(len(squared)), squared.argmin(1)  # the first of equal ones
        index[part], distance[part] = eligible[nearest], squared[rows, nearest]
        squared[rows, nearest] = np.inf
        runner_up[part] = squared.min(1)
    return Reference(index, distance, runner_up)
