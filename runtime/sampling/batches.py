"""Division of n samples into batches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def batches(n: int, size: int) -> Iterator[slice]:
    """Yields the slice of each batch of up to ``size`` of n samples."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def padded_batches(n: int, size: int) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    """Yields, for each batch, its slice of the n samples, and the indices [size] of the samples to compute. The last
    batch is padded with the last sample, because results depend on the batch size.
    """
    for part in batches(n, size):
        yield part, np.minimum(np.arange(part.start, part.start + size), n - 1)
