"""Reading of IDX files (MNIST, Fashion-MNIST): a big-endian header, then raw bytes; plain or gzipped."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentloop.errors import InputError

IMAGES_MAGIC = 0x803  # unsigned bytes in three dimensions: count, rows, columns
LABELS_MAGIC = 0x801  # unsigned bytes in one dimension: count

Pair = tuple[NDArray[np.uint8], NDArray[np.int64]]  # images [N, H, W], labels [N]


def find(folder: Path, name: str) -> Path | None:
    """Returns the path of ``folder/name`` or ``folder/name.gz``, or None if neither exists."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def is_data_set(folder: Path) -> bool:
    """Returns whether the folder has a training part in IDX files."""
    return any(find(folder, f"train-{name}") for name in ("images-idx3-ubyte", "labels-idx1-ubyte"))


def read_images(path: Path) -> NDArray[np.uint8]:
    """Returns images [N, H, W] uint8. Raises InputError that names the file."""
    return _read(path, IMAGES_MAGIC, 3)


def read_labels(path: Path) -> NDArray[np.int64]:
    """Returns labels [N] int64. Raises InputError that names the file."""
    return _read(path, LABELS_MAGIC, 1).astype(np.int64)


def read_pair(folder: Path, prefix: str) -> Pair | None:
    """Returns the images [N, H, W] and labels [N] of ``prefix`` (train, t10k), or None if neither file exists.

    Raises InputError if one of the two files is missing or unreadable, or if their counts differ.
    """
    names = (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte")
    images, labels = (find(folder, name) for name in names)
    if images is None and labels is None:
        return None
    if images is None or labels is None:
        raise InputError(f"{folder}: {names[0] if images is None else names[1]}[.gz] is missing; both are needed")
    pair = read_images(images), read_labels(labels)
    if len(pair[0]) != len(pair[1]):
        raise InputError(f"{labels}: {len(pair[1])} labels, expected {len(pair[0])} as in {images.name}")
    return pair


def _read(path: Path, magic: int, dimensions: int) -> NDArray[np.uint8]:
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read, the file is truncated or corrupt: {error}") from error
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise InputError(f"{path}: {len(content)} bytes, expected a header of {header}; the file is truncated")
    actual, *sizes = struct.unpack(f">{1 + dimensions}I", content[:header])
    if actual != magic:
        raise InputError(f"{path}: magic number {actual:#010x}, expected {magic:#010x}; not an IDX file of this kind")
    expected = header + int(np.prod(sizes, dtype=object))
    if len(content) != expected:
        reason = "the file is truncated" if len(content) < expected else "the file is too long"
        raise InputError(f"{path}: {len(content)} bytes, expected {expected} for {sizes}; {reason}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(sizes)
