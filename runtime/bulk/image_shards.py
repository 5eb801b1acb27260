"""The images of a shard, in files of one of several formats."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from latentloop.bulk.journal import WrittenFile
from latentloop.bulk.run import Shard
from latentloop.images.writing import Images

FORMATS = {  # the module of each, which has the class Writer
    "png": "latentloop.bulk.formats.png_files",
    "npz": "latentloop.bulk.formats.npz_shards",
    "tar": "latentloop.bulk.formats.tar_shards",
}


@dataclass(frozen=True, eq=False)
class ImageBatch:
    """Images of a run, uint8 [n, H, W, C], the numbers ``indices`` [n] of each in the run, and what is known of all:
    ``seeds`` uint64 [n], ``labels`` int64 [n], ``classes``, the name of each image's class.

    ``left_out``: items of the batch that have no image, and will have none; ``failed``: those that have none yet.
    """

    indices: Sequence[int]
    images: Images
    seeds: NDArray[np.uint64] | None = None
    labels: NDArray[np.int64] | None = None
    classes: Sequence[str] | None = None
    left_out: int = 0
    failed: int = 0
    cancelled: bool = False

    @property
    def count(self) -> int:
        """The number of items."""
        return len(self.images) + self.left_out + self.failed

    def enlarged(self, scale: int) -> Images:
        """Returns the images, each pixel as ``scale`` x ``scale`` pixels."""
        return self.images if scale == 1 else self.images.repeat(scale, 1).repeat(scale, 2)


class ImageWriter(Protocol):
    """Writes the images of one shard to unfinished files. ``scale``: pixels of a file for a pixel of the model."""

    def add(self, batch: ImageBatch) -> None:
        """Writes the next images."""

    def finish(self) -> Iterable[WrittenFile]:
        """Returns the files, which are on the disk."""

    def close(self) -> None:
        """Closes files after an error."""


T = TypeVar("T", bound=ImageBatch)


class ImageShardWriter(Generic[T]):
    """Writes the images of a shard. Implements ``ShardWriter``."""

    def __init__(self, format: str, scale: int, shard: Shard) -> None:
        self.images = 0
        self.shard = shard
        self._format, self._scale = format, scale
        self._writer: ImageWriter | None = None

    def add(self, batch: T) -> None:
        """Writes the next images of the shard."""
        if not len(batch.images):
            return
        if self._writer is None:
            make: Callable[[Shard, int], ImageWriter] = import_module(FORMATS[self._format]).Writer
            self._writer = make(self.shard, self._scale)
        self._writer.add(batch)
        self.images += len(batch.images)

    def finish(self) -> tuple[WrittenFile, ...]:
        """Returns the files of the shard, which are on the disk; a shard without images has none."""
        return () if self._writer is None else tuple(self._writer.finish())

    def close(self) -> None:
        """Closes files after an error."""
        if self._writer is not None:
            self._writer.close()
