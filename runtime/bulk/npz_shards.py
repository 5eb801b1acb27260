"""Images of a run as .npz files: arr_0, uint8 [N, H, W, C]; with classes arr_1, labels int64 [N]; seeds, uint64 [N].

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
from latentloop.bulk.journal import WrittenFile
from latentloop.bulk.shard_files import Shard
from latentloop.images.writing import Images
from latentloop.sampling.results import Samples

IMAGES, LABELS, SEEDS = "arr_0", "arr_1", "seeds"
_DATE = (1980, 1, 1, 0, 0, 0)  # the same for all, so that the bytes of a file depend on its arrays only


class Writer:
    """Implements ``ImageWriter``. A shard's images are in memory until it is finished."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self._images: list[Images] = []
        self._labels: list[NDArray[np.int64]] = []
        self._seeds: list[NDArray[np.uint64]] = []

    def add(self, index: int, images: Images, samples: Samples) -> None:
        """Collects images."""
        self._images.append(images)
        self._seeds.append(samples.seeds)
        if samples.labels is not None:
            self._labels.append(samples.labels)

    def finish(self) -> list[WrittenFile]:
        """Writes the file, and returns it."""
        name = self._shard.file_name("shard", ".npz")
        parts: dict[str, list[NDArray[Any]]] = {IMAGES: [*self._images], SEEDS: [*self._seeds]}
        if self._labels:
            parts[LABELS] = [*self._labels]
        count = sum(map(len, self._seeds))
        write_npz(
            self._shard.path(name),
            {array: ((count, *each[0].shape[1:]), each[0].dtype, each) for array, each in sorted(parts.items())},
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
