"""Images of a run as .npz files: arr_0, uint8 [N, H, W, C]; with labels arr_1, int64 [N]; with seeds seeds, uint64 [N].

Programs that compare sets of images read such files, usually one for all images: ``latentloop merge`` joins shards.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.bulk.folder import synced
from latentloop.bulk.image_shards import ImageBatch
from latentloop.bulk.journal import WrittenFile
from latentloop.bulk.run import Shard

IMAGES, LABELS, SEEDS = "arr_0", "arr_1", "seeds"
_DATE = (1980, 1, 1, 0, 0, 0)  # the same for all, so that the bytes of a file depend on its arrays only


class Writer:
    """Implements ``ImageWriter``. A shard's images are in memory until it is finished."""

    def __init__(self, shard: Shard, scale: int) -> None:
        self._shard, self._scale = shard, scale
        self._parts: dict[str, list[NDArray[Any]]] = {IMAGES: [], LABELS: [], SEEDS: []}

    def add(self, batch: ImageBatch) -> None:
        """Collects images."""
        arrays = {IMAGES: batch.enlarged(self._scale), LABELS: batch.labels, SEEDS: batch.seeds}
        for name, values in arrays.items():
            if values is not None:
                self._parts[name].append(values)

    def finish(self) -> list[WrittenFile]:
        """Writes the file, and returns it."""
        name = self._shard.file_name("shard", ".npz")
        count = sum(map(len, self._parts[IMAGES]))
        write_npz(
            self._shard.path(name),
            {
                array: ((count, *parts[0].shape[1:]), parts[0].dtype, parts)
                for array, parts in self._parts.items()
                if parts
            },
        )
        return [synced(self._shard.folder, name)]

    def close(self) -> None:
        """Does nothing: no file is open."""


def write_npz(path: Path, arrays: Mapping[str, tuple[tuple[int, ...], np.dtype[Any], Iterable[Any]]]) -> None:
    """Writes an uncompressed .npz file. Each array is a shape, a dtype, and buffers or arrays that follow each other.

    Raises OSError, and ValueError if an array has another size.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, (shape, dtype, parts) in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", _DATE)
            entry.external_attr = 0o644 << 16
            with archive.open(entry, "w", force_zip64=True) as file:
                header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                missing = math.prod(shape) * dtype.itemsize
                for part in parts:
                    is_bytes = isinstance(part, bytes)
                    content = part if is_bytes else np.ascontiguousarray(part).reshape(-1).view(np.uint8).data
                    missing -= len(content)
                    file.write(content)
                if missing:
                    raise ValueError(f"{path}: {name} lacks {missing} bytes")
