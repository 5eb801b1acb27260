"""The codes of a shard of images, in a file of codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.bulk.folder import synced
from latentloop.bulk.journal import WrittenFile
from latentloop.bulk.run import Shard
from latentloop.io.codes_file import write_codes


@dataclass(frozen=True, eq=False)
class CodesBatch:
    """Codes of the images ``files`` [n], by level, int64 [n, h, w], and their ``labels`` int64 [n] if they have some.

    ``left_out``: items of the batch that have no codes, and will have none; ``failed``: those that have none yet.
    """

    files: Sequence[str]
    codes: Mapping[str, NDArray[np.int64]]
    labels: NDArray[np.int64] | None
    left_out: int = 0
    failed: int = 0
    cancelled: bool = False

    @property
    def count(self) -> int:
        """The number of items."""
        return len(self.files) + self.left_out + self.failed


class CodesShardWriter:
    """Collects the codes of a shard, and writes them at its end. Implements ``ShardWriter``.

    ``origin`` and ``classes`` are those of the bundle (``write_codes``).
    """

    def __init__(self, origin: Mapping[str, str], classes: Sequence[str], shard: Shard) -> None:
        self.images = 0
        self._origin, self._classes, self._shard = origin, classes, shard
        self._batches: list[CodesBatch] = []

    def add(self, batch: CodesBatch) -> None:
        """Collects the next codes."""
        if batch.files:
            self._batches.append(batch)
        self.images += len(batch.files)

    def finish(self) -> tuple[WrittenFile, ...]:
        """Writes the file, and returns it; a shard without codes has none."""
        batches = self._batches
        if not batches:
            return ()
        per_image: dict[str, Any] = {"files": [file for batch in batches for file in batch.files]}
        labels = [batch.labels for batch in batches if batch.labels is not None]
        if labels:
            per_image["labels"] = np.concatenate(labels)
        name = self._shard.file_name("codes", ".npz")
        write_codes(
            self._shard.path(name),
            {level: np.concatenate([batch.codes[level] for batch in batches]) for level in batches[0].codes},
            per_image,
            origin=self._origin,
            classes=self._classes,
        )
        return (synced(self._shard.folder, name),)

    def close(self) -> None:
        """Does nothing: no file is open."""
