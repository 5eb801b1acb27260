"""Images of a run as tar files with WebDataset's names: files whose names differ only in the suffix are one sample.

A sample has a .png, with a label a .cls (in decimal), and a .json with what is known of its seed, label and class name.
"""

from __future__ import annotations

import io
import json
import tarfile
from typing import Any

from latentloop.bulk.folder import synced
from latentloop.bulk.image_shards import ImageBatch
from latentloop.bulk.journal import WrittenFile
from latentloop.bulk.run import Shard
from latentloop.images.writing import png_bytes

DIGITS = 8  # of a sample's number, at least


class Writer:
    """Implements ``ImageWriter``."""

    def __init__(self, shard: Shard, scale: int) -> None:
        self._shard, self._scale, self._name = shard, scale, shard.file_name("shard", ".tar")
        self._archive = tarfile.open(shard.path(self._name), "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115 - open until finish()
        self._digits = max(DIGITS, len(str(shard.shards.n - 1)))

    def add(self, batch: ImageBatch) -> None:
        """Encodes images in parallel, and writes them in order."""
        encoded = self._shard.pool.map(png_bytes, batch.enlarged(self._scale))
        for i, (index, content) in enumerate(zip(batch.indices, encoded, strict=True)):
            key = f"{index:0{self._digits}}"
            about: dict[str, Any] = {} if batch.seeds is None else {"seed": int(batch.seeds[i])}
            self._add(f"{key}.png", content)
            if batch.labels is not None:
                about["label"] = int(batch.labels[i])
                self._add(f"{key}.cls", str(about["label"]).encode())
            if batch.classes is not None:
                about["class"] = batch.classes[i]
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
