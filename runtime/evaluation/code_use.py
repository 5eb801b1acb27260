"""How evenly the codes of a codebook are used."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def code_counts(codes: NDArray[np.int64], codebook_size: int) -> NDArray[np.int64]:
    """Returns how often each of K codes occurs in ``codes`` (any shape): int64 [K]."""
    return np.bincount(codes.ravel(), minlength=codebook_size).astype(np.int64)


def codes_used(counts: NDArray[np.int64]) -> int:
    """Returns how many codes occur."""
    return int(np.count_nonzero(counts))


def perplexity(counts: NDArray[np.int64]) -> float:
    """Returns e to the entropy of the frequencies [K], of which at least one is not 0: K if all K codes occur equally
    often, 1 if only one code occurs.
    """
    shares = counts[counts > 0] / counts.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))
