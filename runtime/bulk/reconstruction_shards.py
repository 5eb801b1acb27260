"""The reconstructions of a shard of images, and a table of their errors: files-00000.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from latentloop.bulk.folder import write_unfinished
from latentloop.bulk.image_shards import ImageBatch, ImageShardWriter
from latentloop.bulk.journal import ShardRecord, WrittenFile
from latentloop.bulk.run import Shard
from latentloop.errors import OutputError

COLUMNS = ("number", "file", "mean_squared_error")
TABLE = "files"  # before the number in the name of a table


@dataclass(frozen=True, eq=False, kw_only=True)
class ReconstructedBatch(ImageBatch):
    """Reconstructions of ``files`` [n], and the error of each."""

    files: Sequence[str]
    errors: Sequence[float]


class ReconstructionWriter(ImageShardWriter[ReconstructedBatch]):
    """Writes reconstructions and their table. Implements ``ShardWriter``."""

    def __init__(self, format: str, scale: int, shard: Shard) -> None:
        super().__init__(format, scale, shard)
        self._rows: list[tuple[int, str, float]] = []

    def add(self, batch: ReconstructedBatch) -> None:
        """Writes the next reconstructions."""
        super().add(batch)
        self._rows += zip(batch.indices, batch.files, batch.errors, strict=True)

    def finish(self) -> tuple[WrittenFile, ...]:
        """Returns the files of the shard, which are on the disk."""
        if not self._rows:
            return ()
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(COLUMNS)
        table.writerows((number, file, repr(error)) for number, file, error in self._rows)
        name = self.shard.file_name(TABLE, ".csv")
        content = text.getvalue().encode("utf-8", "surrogateescape")  # file names may be any bytes
        return (*super().finish(), write_unfinished(self.shard.folder, name, content))


def read_errors(folder: Path, record: ShardRecord) -> Iterator[tuple[str, float]]:
    """Yields the files of a finished shard, and their errors. Raises OutputError if its table is damaged."""
    if not record.images:
        return
    path = folder / next(file.name for file in record.files if file.name.endswith(".csv"))
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            rows = csv.reader(file)
            next(rows)
            for _, name, error in rows:
                yield name, float(error)
    except (ValueError, StopIteration) as error:
        raise OutputError(f"{path} is damaged ({error}): remove it, and go on with the same command") from error
