"""What a run of the sampler reports, and what it and the classifier return."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Progress:
    """Where a run stands: rows done of one level, within a batch; images finished of all."""

    level: str
    rows_done: int
    rows_total: int
    images_done: int
    images_total: int


@dataclass(frozen=True)
class Samples:
    """Finished samples; N is smaller than asked where the run was cancelled.

    ``images`` uint8 [N, H, W, C]; ``codes`` by level, int64 [N, h, w]; ``seeds`` uint64 [N]; ``labels`` int64 [N], or
    None for a bundle without classes.
    """

    images: NDArray[np.uint8]
    codes: dict[str, NDArray[np.int64]]
    seeds: NDArray[np.uint64]
    labels: NDArray[np.int64] | None
    cancelled: bool = False


@dataclass(frozen=True)
class Classification:
    """What the bundle's classifier makes of N images.

    ``probabilities`` float32 [N, classes], of every label; ``features`` float32 [N, F], what it tells them by.
    """

    probabilities: NDArray[np.float32]
    features: NDArray[np.float32]
