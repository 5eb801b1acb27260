"""Results of the sampler and the classifier, and progress reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Progress:
    """Progress of a run: the finished rows of one level in the current batch, and the finished images of the run."""

    level: str
    rows_done: int
    rows_total: int
    images_done: int
    images_total: int


Callback = Callable[[Progress], bool | None]  # called after every row; False cancels the run


@dataclass(frozen=True)
class Samples:
    """Finished samples; N is smaller than requested if the run was cancelled.

    ``images`` uint8 [N, H, W, C]; ``codes`` by level, int64 [N, h, w]; ``seeds`` uint64 [N]; ``labels`` int64 [N], or
    None for a bundle without classes.
    """

    images: NDArray[np.uint8]
    codes: dict[str, NDArray[np.int64]]
    seeds: NDArray[np.uint64]
    labels: NDArray[np.int64] | None
    cancelled: bool = False

    def take(self, chosen: slice | NDArray[np.int64]) -> Samples:
        """Returns the samples of these indices."""
        return replace(
            self,
            images=self.images[chosen],
            codes={name: codes[chosen] for name, codes in self.codes.items()},
            seeds=self.seeds[chosen],
            labels=None if self.labels is None else self.labels[chosen],
        )


@dataclass(frozen=True)
class Classification:
    """The classifier's results for N images.

    ``probabilities`` float32 [N, classes]; ``features`` float32 [N, F], the inputs of the last layer.
    """

    probabilities: NDArray[np.float32]
    features: NDArray[np.float32]
