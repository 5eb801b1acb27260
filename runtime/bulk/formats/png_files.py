"""Images of a run as single PNG files, in sub-folders if there are many."""

from __future__ import annotations

from latentloop.bulk.folder import subfolder, write_unfinished
from latentloop.bulk.image_shards import ImageBatch
from latentloop.bulk.journal import WrittenFile
from latentloop.bulk.run import Shard
from latentloop.images.writing import Images, image_name, png_bytes

DIGITS = 5  # of the numbers in names, at least


class Writer:
    """Implements ``ImageWriter``."""

    def __init__(self, shard: Shard, scale: int) -> None:
        self._shard, self._scale = shard, scale
        self._files: list[WrittenFile] = []

    def add(self, batch: ImageBatch) -> None:
        """Encodes and writes images in parallel."""
        n = self._shard.shards.n
        digits = max(DIGITS, len(str(n - 1)))
        names = []
        for i, index in enumerate(batch.indices):
            label = None if batch.classes is None else batch.classes[i]
            seed = None if batch.seeds is None else int(batch.seeds[i])
            names.append(subfolder(index, n) + image_name(index, label, seed, digits))
        self._files += self._shard.pool.map(self._write, names, batch.enlarged(self._scale))

    def finish(self) -> list[WrittenFile]:
        """Returns the files."""
        return self._files

    def close(self) -> None:
        """Does nothing: every file is closed."""

    def _write(self, name: str, image: Images) -> WrittenFile:
        return write_unfinished(self._shard.folder, name, png_bytes(image))
