"""Joins the .npz shards of a finished run, or of its parts, into one file, a block at a time."""

from __future__ import annotations

import hashlib
import math
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latentloop.bulk.formats.npz_shards import IMAGES, LABELS, SEEDS, write_npz
from latentloop.bulk.journal import ShardRecord, WrittenFile
from latentloop.bulk.merging.finished_run import GO_ON, check_digest, finished_run
from latentloop.errors import InputError
from latentloop.io.files import write_file

BLOCK = 2**20  # bytes
Header = tuple[tuple[int, ...], np.dtype[Any]]  # an array's shape and type


def merge_npz(
    folders: Sequence[Path], target: Path, *, force: bool = False, merged: Callable[[int, int], None] | None = None
) -> int:
    """Writes ``target`` with the arrays of all shards of the run in ``folders``, joined in order; returns the number of
    images. ``merged`` is called with the number of images of each shard before it is read, and that of all.

    Raises InputError if the run is not complete, a file is missing or differs from what the journal lists, or the
    shards have another format; OutputError if the target exists (unless ``force``) or cannot be written.
    """
    run = finished_run(folders, only="npz")
    files = [(folder / (file := _image_file(record)).name, file, record.images) for folder, record in run.records()]
    headers = [_headers(path) for path, _, _ in files]
    for (path, _, images), header in zip(files, headers, strict=True):
        if header.keys() != headers[0].keys() or any(
            shape != (images, *headers[0][name][0][1:]) or dtype != headers[0][name][1]
            for name, (shape, dtype) in header.items()
        ):
            raise InputError(f"{path}: its arrays do not fit {images} images and the other shards")
    n = sum(images for _, _, images in files)

    def parts(name: str) -> Iterator[bytes]:
        for path, file, images in files:
            if name == IMAGES:
                if merged is not None:
                    merged(images, n)
                with path.open("rb") as content:
                    check_digest(path, file, hashlib.file_digest(content, "sha256").hexdigest())
            yield from _content(path, name)

    arrays = {
        name: ((n, *shape[1:]), dtype, parts(name))
        for name, (shape, dtype) in sorted(headers[0].items())
        if name in (IMAGES, LABELS, SEEDS)
    }
    write_file(target, lambda temporary: write_npz(temporary, arrays), force=force)
    return n


def _headers(path: Path) -> dict[str, Header]:
    """Returns the arrays of an .npz file. Raises InputError."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy"): _array(archive, name)[0] for name in archive.namelist()}
    except Exception as error:  # a damaged archive can fail in many ways
        raise InputError(f"{path} cannot be read as an .npz file: {error}") from error


def _array(archive: zipfile.ZipFile, name: str) -> tuple[Header, int]:
    """Returns an array's header, and the size of the bytes before its values."""
    with archive.open(name) as file:
        np.lib.format.read_magic(file)
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        if fortran or dtype.hasobject:
            raise ValueError(f"{name} is not an array in C order")
        return (shape, dtype), file.tell()


def _content(path: Path, name: str) -> Iterator[bytes]:
    """Yields the values of an array, in blocks."""
    with zipfile.ZipFile(path) as archive:
        (shape, dtype), start = _array(archive, f"{name}.npy")
        left = math.prod(shape) * dtype.itemsize
        with archive.open(f"{name}.npy") as file:
            file.read(start)
            while left and (block := file.read(min(BLOCK, left))):
                left -= len(block)
                yield block


def _image_file(record: ShardRecord) -> WrittenFile:
    """Returns the file of images of a shard. Raises InputError."""
    files = [file for file in record.files if file.name.startswith("shard-")]
    if len(files) != 1:
        raise InputError(f"shard {record.shard} lists no file of images, or several: {GO_ON}")
    return files[0]
