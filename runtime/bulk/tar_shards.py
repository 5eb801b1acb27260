"""Images of a run as tar files with WebDataset's names: files whose names differ only in the suffix are one sample.

A sample has a .png, with classes a .cls (the label, in decimal), and a .json with its seed, label and class name.
"""

from __future__ import annotations

import io
import json
import tarfile

from latentloop.bulk.folder import synced
from latentloop.bulk.journal import WrittenFile
from latentloop.bulk.shard_files import Shard
from latentloop.images.writing import Images, png_bytes
from latentloop.sampling.results import Samples

DIGITS = 8  # of a sample's number, at least


class Writer:
    """Implements ``ImageWriter``."""

    def __init__(self, shard: Shard) -> None:
        self._shard, self._name = shard, shard.file_name("shard", ".tar")
        self._archive = tarfile.open(shard.path(self._name), "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115 - open until finish()
        self._digits = max(DIGITS, len(str(shard.run.shards.n - 1)))

    def add(self, index: int, images: Images, samples: Samples) -> None:
        """Encodes images in parallel, and writes them in order."""
        encoded = self._shard.pool.map(png_bytes, images)
        for i, (content, seed) in enumerate(zip(encoded, samples.seeds.tolist(), strict=True)):
            key, about = f"{index + i:0{self._digits}}", {"seed": seed}
            self._add(f"{key}.png", content)
            if samples.labels is not None:
                label = int(samples.labels[i])
                self._add(f"{key}.cls", str(label).encode())
                about = {**about, "label": label, "class": self._shard.class_name(label)}
            self._add(f"{key}.json", json.dumps(about).encode())

    def finish(self) -> list[WrittenFile]:
        """Ends the file, and returns it."""
        self._archive.close()
        return [synced(self._shard.folder, self._name)]

    def close(self) -> None:
        """Closes the file."""
        if self._archive.fileobj is not None:
            self._archive.fileobj.close()

    def _add(self, name: str, content: bytes) -> None:
        entry = tarfile.TarInfo(name)  # its time and owner are 0
        entry.size = len(content)
        self._archive.addfile(entry, io.BytesIO(content))
