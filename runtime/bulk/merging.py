"""Joins the .npz shards of a finished run into one file, a block at a time."""

from __future__ import annotations

import hashlib
import math
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from latentloop.bulk.folder import first_missing
from latentloop.bulk.formats.npz_shards import IMAGES, LABELS, SEEDS, write_npz
from latentloop.bulk.journal import ShardRecord, read_journal
from latentloop.bulk.shards import Shards
from latentloop.errors import InputError, OutputError
from latentloop.io.files import write_file

BLOCK = 2**20  # bytes
Header = tuple[tuple[int, ...], np.dtype[Any]]  # an array's shape and type


def merge_npz(
    folder: Path, target: Path, *, force: bool = False, merged: Callable[[int, int], None] | None = None
) -> int:
    """Writes ``target`` with the arrays of all shards of the run in ``folder``, joined in order; returns the number of
    images. ``merged`` is called with the number of images of each shard before it is read, and that of all.

    Raises InputError if the run is not finished, a file is missing or differs from what the journal lists, or the
    shards have another format; OutputError if the target exists (unless ``force``) or cannot be written.
    """
    records = _records(folder)
    shards = [folder / next(file.name for file in record.files if file.name.startswith("shard-")) for record in records]
    headers = [_headers(path) for path in shards]
    for path, record, header in zip(shards, records, headers, strict=True):
        if header.keys() != headers[0].keys() or any(
            shape != (record.images, *headers[0][name][0][1:]) or dtype != headers[0][name][1]
            for name, (shape, dtype) in header.items()
        ):
            raise InputError(f"{path}: its arrays do not fit {record.images} images and the other shards")
    n = sum(record.images for record in records)

    def parts(name: str) -> Iterator[bytes]:
        for path, record in zip(shards, records, strict=True):
            if name == IMAGES:
                if merged is not None:
                    merged(record.images, n)
                _check_content(path, record)
            yield from _content(path, name)

    arrays = {
        name: ((n, *shape[1:]), dtype, parts(name))
        for name, (shape, dtype) in sorted(headers[0].items())
        if name in (IMAGES, LABELS, SEEDS)
    }
    write_file(target, lambda temporary: write_npz(temporary, arrays), force=force)
    return n


def _records(folder: Path) -> list[ShardRecord]:
    """Returns the records of all shards, in order. Raises InputError."""
    remedy = "go on with the command that wrote it"
    try:
        journal = read_journal(folder)
    except OutputError as error:
        raise InputError(f"{folder} holds no run of `latentloop sample`: {error}") from error
    try:
        header, by_shard = journal.header, {record.shard: record for record in journal.records()}
    finally:
        journal.close()
    if header.get("files") != "npz":
        raise InputError(
            f"{folder} holds {header.get('files')} files, and only .npz shards are merged: draw them with --format npz"
        )
    n, size = header.get("n"), header.get("shard_size")
    if type(n) is not int or type(size) is not int or n < 1 or size < 1:
        raise InputError(f"{journal.path}: line 1 has n and shard_size {[n, size]}, expected positive integers")
    shards = Shards(n, size)
    missing = [number for number in range(shards.count) if number not in by_shard or by_shard[number].partial]
    if missing:
        raise InputError(
            f"{folder} is not finished, {len(missing)} of {shards.count} shards are missing, the first is number "
            f"{missing[0]}: {remedy}"
        )
    records = [by_shard[number] for number in range(shards.count)]
    for record in records:
        if problem := first_missing(folder, record):
            raise InputError(f"{folder}: {problem}: {remedy}")
        if sum(file.name.startswith("shard-") for file in record.files) != 1:
            raise InputError(f"{journal.path}: shard {record.shard} lists no file of images, or several: {remedy}")
    return records


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


def _check_content(path: Path, record: ShardRecord) -> None:
    """Raises InputError unless a shard's file has the digest that the journal lists."""
    expected = next(file.sha256 for file in record.files if file.name.startswith("shard-"))
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise InputError(
            f"{path} was changed: its SHA-256 is {found[:12]}…, the journal lists {expected[:12]}…: remove it, and go "
            "on with the command that wrote it"
        )
