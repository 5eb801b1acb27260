"""The nearest codeword of each vector, plainly, in float64 NumPy: what every kernel must equal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

_BLOCK = 2**22  # differences held at once, so that memory does not grow with N x K


@dataclass(frozen=True)
class Nearest:
    """Per vector: the index [N] int64 of the nearest codeword, lowest on ties; its squared Euclidean distance [N], and
    that of the next nearest other codeword (infinite for a codebook of one), float64.
    """

    index: NDArray[np.int64]
    distance: NDArray[np.float64]
    runner_up: NDArray[np.float64]


def nearest_codebook(z: ArrayLike, codebook: ArrayLike) -> Nearest:
    """The nearest of codebook [K, D] to each of z [N, D]: argmin_k of the sum of (z - e_k)^2, differences taken first.

    Raises ValueError for shapes that do not fit. Infinities and NaN are the caller's to exclude.
    """
    vectors, codewords = np.asarray(z, np.float64), np.asarray(codebook, np.float64)
    if vectors.ndim != 2 or codewords.ndim != 2 or vectors.shape[1] != codewords.shape[1] or not len(codewords):
        raise ValueError(
            f"z is {list(vectors.shape)}, codebook {list(codewords.shape)}, expected [N, D] and [K > 0, D]"
        )
    n = len(vectors)
    index, distance, runner_up = np.empty(n, np.int64), np.empty(n), np.full(n, np.inf)
    step = max(1, _BLOCK // codewords.size) if codewords.size else n
    for begin in range(0, n, step):
        part = slice(begin, begin + step)
        squared = np.square(vectors[part, None] - codewords[None]).sum(2)  # [step, K]
        rows = np.arange(len(squared))
        index[part] = squared.argmin(1)  # the first of equal ones
        distance[part] = squared[rows, index[part]]
        squared[rows, index[part]] = np.inf
        runner_up[part] = squared.min(1)
    return Nearest(index, distance, runner_up)
