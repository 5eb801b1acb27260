"""The files of a shard: its images in one of several formats, and its codes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from latentloop.bulk.folder import UNFINISHED, synced
from latentloop.bulk.journal import WrittenFile
from latentloop.bulk.run import BulkRun, CodesOutput
from latentloop.images.writing import Images
from latentloop.io.codes_file import write_codes
from latentloop.sampling.results import Samples, joined

FORMATS = {  # the module of each, which has the class Writer
    "png": "latentloop.bulk.png_files",
    "npz": "latentloop.bulk.npz_shards",
    "tar": "latentloop.bulk.tar_shards",
}


@dataclass(frozen=True)
class Shard:
    """A shard that is being written in ``folder``. ``pool`` runs work that releases the interpreter's lock."""

    folder: Path
    number: int
    run: BulkRun
    pool: ThreadPoolExecutor

    def path(self, name: str) -> Path:
        """Returns the path of an unfinished file."""
        return self.folder / UNFINISHED / name

    def file_name(self, kind: str, suffix: str) -> str:
        """Returns the name of a file for the whole shard, such as shard-00003.npz."""
        return f"{kind}-{self.number:0{max(5, len(str(self.run.shards.count - 1)))}}{suffix}"

    def class_name(self, label: int) -> str:
        """Returns the name of a class."""
        return self.run.request.manifest.classes[label]


class ImageWriter(Protocol):
    """Writes the images of one shard to unfinished files."""

    def add(self, index: int, images: Images, samples: Samples) -> None:
        """Writes the next samples, the first of which is number ``index`` of the run. ``images`` are enlarged."""

    def finish(self) -> Iterable[WrittenFile]:
        """Returns the files, which are on the disk."""

    def close(self) -> None:
        """Closes files after an error."""


@dataclass
class ShardWriter:
    """Writes the files of one shard. Its methods may raise OSError and LatentLoopError."""

    shard: Shard
    images: int = 0
    _writer: ImageWriter | None = None
    _codes: list[Samples] = field(default_factory=list)

    def add(self, samples: Samples) -> None:
        """Writes the next samples of the shard."""
        run, number = self.shard.run, self.shard.number
        if self._writer is None:
            make: Callable[[Shard], ImageWriter] = import_module(FORMATS[run.format]).Writer
            self._writer = make(self.shard)
        images = samples.images
        enlarged = images if run.scale == 1 else images.repeat(run.scale, 1).repeat(run.scale, 2)
        self._writer.add(run.shards.part(number).start + self.images, enlarged, samples)
        self.images += len(images)
        if run.codes is not None:
            self._codes.append(replace(samples, images=np.empty((0, *images.shape[1:]), np.uint8)))

    def finish(self) -> tuple[WrittenFile, ...]:
        """Returns the files of the shard, which are on the disk."""
        assert self._writer is not None
        files = list(self._writer.finish())
        if self.shard.run.codes is not None:
            files += self._write_codes(self.shard.run.codes)
        return tuple(files)

    def close(self) -> None:
        """Closes files after an error."""
        if self._writer is not None:
            self._writer.close()

    def _write_codes(self, output: CodesOutput) -> list[WrittenFile]:
        """Writes the codes, and returns their file if it is one of the shard."""
        run, name = self.shard.run, self.shard.file_name("codes", ".npz")
        samples, manifest = joined(self._codes), run.request.manifest
        per_image: dict[str, Any] = {"seeds": samples.seeds}
        if samples.labels is not None:
            per_image["labels"] = samples.labels
        write_codes(
            self.shard.path(name) if output.file is None else output.file,
            samples.codes,
            per_image,
            origin=manifest.origin(),
            classes=manifest.classes,
            settings=output.settings,
            earlier_origins=output.origins(run.shards.part(self.shard.number)),
            force=output.force,
        )
        return [synced(self.shard.folder, name)] if output.file is None else []
