"""Images of a run as single PNG files, in sub-folders if there are many."""

from __future__ import annotations

from latentloop.bulk.folder import subfolder, write_unfinished
from latentloop.bulk.journal import WrittenFile
from latentloop.bulk.shard_files import Shard
from latentloop.images.writing import Images, image_name, png_bytes
from latentloop.sampling.results import Samples

DIGITS = 5  # of the numbers in names, at least


class Writer:
    """Implements ``ImageWriter``."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self._files: list[WrittenFile] = []

    def add(self, index: int, images: Images, samples: Samples) -> None:
        """Encodes and writes images in parallel."""
        n = self._shard.run.shards.n
        digits = max(DIGITS, len(str(n - 1)))
        names = []
        for i, seed in enumerate(samples.seeds.tolist()):
            label = None if samples.labels is None else self._shard.class_name(int(samples.labels[i]))
            names.append(subfolder(index + i, n) + image_name(index + i, label, seed, digits))
        self._files += self._shard.pool.map(self._write, names, images)

    def finish(self) -> list[WrittenFile]:
        """Returns the files."""
        return self._files

    def close(self) -> None:
        """Does nothing: every file is closed."""

    def _write(self, name: str, image: Images) -> WrittenFile:
        return write_unfinished(self._shard.folder, name, png_bytes(image))
