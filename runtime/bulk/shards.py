"""Division of a run's samples into shards, which are drawn and written one after the other."""

from __future__ import annotations

import math
from dataclasses import dataclass

SIZES = {"png": 256, "npz": 1024, "tar": 1024, "codes": 1024}  # by format: images of a shard by default, at most
MAX_BYTES = 2**28  # of a shard's images by default


@dataclass(frozen=True)
class Shards:
    """``n`` samples in shards of ``size``; the last one may have fewer."""

    n: int
    size: int

    @property
    def count(self) -> int:
        """The number of shards."""
        return -(-self.n // self.size)

    def part(self, number: int) -> slice:
        """Returns the slice of the samples that the shard has."""
        return slice(number * self.size, min((number + 1) * self.size, self.n))


def default_size(format: str, image: tuple[int, int, int], batch_size: int) -> int:
    """Returns the size of shards for a format: whole batches, and images (H, W, C) of at most ``MAX_BYTES``, except
    that there is at least one batch.
    """
    most = min(SIZES[format], MAX_BYTES // math.prod(image))
    return max(1, most // batch_size) * batch_size
