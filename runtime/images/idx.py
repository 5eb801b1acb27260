"""IDX files (MNIST, Fashion-MNIST): a big-endian header, then raw bytes; plain or gzipped.

Their images are grey, and smaller ones get a black border: they are never resized.
"""

from __future__ import annotations

import gzip
import math
import os
import shutil
import stat
import struct
import tempfile
import weakref
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from latentloop.errors import InputError

IMAGES_MAGIC = 0x803  # unsigned bytes in three dimensions: count, rows, columns
LABELS_MAGIC = 0x801  # unsigned bytes in one dimension: count
_IMAGES, _LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"  # ends of MNIST's names


class IdxFile:
    """An open file of ``count`` grey images of ``height`` x ``width``, and their ``labels``, int64 [count], if the file
    of labels with MNIST's name is beside it.

    Images are read one at a time, by any thread. A gzipped file is unpacked to a temporary one.
    """

    def __init__(self, path: Path) -> None:
        """Raises InputError that names the file which cannot be used."""
        self.path = path
        with _opened(path, IMAGES_MAGIC, 3) as (file, (self.count, self.height, self.width)):
            self._descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._descriptor)
        self.labels = _labels_beside(path, self.count)

    def read(self, index: int) -> NDArray[np.uint8]:
        """Returns image number ``index``, [height, width]. Raises InputError, without the file's name."""
        size = self.height * self.width
        pixels = os.pread(self._descriptor, size, 16 + index * size)
        if len(pixels) < size:
            raise InputError("was truncated while it was read")
        return np.frombuffer(pixels, np.uint8).reshape(self.height, self.width)


@dataclass(frozen=True, slots=True)
class IdxImage:
    """Image number ``index`` of a file."""

    file: IdxFile
    index: int

    def __str__(self) -> str:
        return f"{self.file.path}[{self.index}]"


def find(folder: Path, name: str) -> Path | None:
    """Returns the path of ``folder/name`` or ``folder/name.gz``, or None if neither exists."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def has_idx_name(name: str) -> bool:
    """Returns whether a file of images in MNIST's data set, plain or gzipped, could have that name."""
    return name.removesuffix(".gz").endswith(f"-{_IMAGES}")


def is_idx(path: Path) -> bool:
    """Returns whether a regular file is an IDX file, plain or gzipped, of any kind, by its first bytes."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would block
            return False
        with path.open("rb") as file:
            start = file.read(4)
        if start[:2] == b"\x1f\x8b":
            with gzip.open(path) as unpacked:
                start = unpacked.read(4)
    except (OSError, EOFError, zlib.error):
        return False
    return len(start) == 4 and start[:2] == b"\0\0" and 8 <= start[2] <= 14 and start[3] > 0


def read_images(path: Path) -> NDArray[np.uint8]:
    """Returns images [N, H, W] uint8. Raises InputError that names the file."""
    return _read(path, IMAGES_MAGIC, 3)


def read_labels(path: Path) -> NDArray[np.int64]:
    """Returns labels [N] int64. Raises InputError that names the file."""
    return _read(path, LABELS_MAGIC, 1).astype(np.int64)


def pad_evenly(images: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Pads images with zeros, [N, H, W] -> [N, height, width, 1]; an odd pixel goes below or to the right."""
    inner_height, inner_width = images.shape[1:]
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    padded = np.zeros((len(images), height, width, 1), np.uint8)
    padded[:, top : top + inner_height, left : left + inner_width, 0] = images
    return padded


def _labels_beside(path: Path, count: int) -> NDArray[np.int64] | None:
    """Returns the labels of a file of ``count`` images, or None without a file of labels."""
    name = path.name.removesuffix(".gz")
    labels_file = find(path.parent, name.removesuffix(_IMAGES) + _LABELS) if has_idx_name(name) else None
    if labels_file is None:
        return None
    labels = read_labels(labels_file)
    if len(labels) != count:
        raise InputError(f"{labels_file}: {len(labels)} labels, expected {count} as in {path.name}")
    return labels


def _read(path: Path, magic: int, dimensions: int) -> NDArray[np.uint8]:
    with _opened(path, magic, dimensions) as (file, sizes):
        return np.fromfile(file, np.uint8).reshape(sizes)


@contextmanager
def _opened(path: Path, magic: int, dimensions: int) -> Iterator[tuple[BinaryIO, tuple[int, ...]]]:
    """Yields a file at the start of its values, and their shape. Raises InputError that names the file."""
    header = 4 + 4 * dimensions
    with ExitStack() as files:
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would block
                raise InputError(f"{path}: not a file")
            file: BinaryIO = files.enter_context(path.open("rb"))
            if path.suffix == ".gz" or file.read(2) == b"\x1f\x8b":
                file.seek(0)
                unpacked = files.enter_context(tempfile.TemporaryFile())
                with gzip.open(file) as packed:
                    shutil.copyfileobj(packed, unpacked)
                file = unpacked
            length = file.seek(0, 2)
            file.seek(0)
            start = file.read(header)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path}: cannot be read, the file is truncated or corrupt: {error}") from error
        actual = int.from_bytes(start[:4], "big")
        if len(start) >= 4 and actual != magic:
            raise InputError(
                f"{path}: magic number {actual:#010x}, expected {magic:#010x}; not an IDX file of this kind"
            )
        if len(start) < header:
            raise InputError(f"{path}: {length} bytes, expected a header of {header}; the file is truncated")
        sizes = struct.unpack(f">{dimensions}I", start[4:])
        expected = header + math.prod(sizes)
        if length != expected:
            reason = "the file is truncated" if length < expected else "the file is too long"
            raise InputError(f"{path}: {length} bytes, expected {expected} for {list(sizes)}; {reason}")
        yield file, sizes
