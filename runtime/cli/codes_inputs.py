"""The files of codes that ``decode`` reads: all are checked first, then read one after the other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentloop.bulk.resuming import missing_shards
from latentloop.bundles.manifest import Manifest
from latentloop.cli import messages
from latentloop.cli.given_codes import checked_codes
from latentloop.errors import InputError
from latentloop.io.codes_file import CodesFile, open_codes
from latentloop.io.file_names import JOURNAL
from latentloop.io.replaceable import is_journal


@dataclass(frozen=True, eq=False)
class Codes:
    """Codes of n images by level, int64 [n, h, w], with the names of their classes and their seeds, if known."""

    codes: dict[str, NDArray[np.int64]]
    labels: list[str] | None
    seeds: list[int] | None

    def __len__(self) -> int:
        return len(next(iter(self.codes.values())))

    def take(self, part: slice) -> Codes:
        """Returns the codes of some of the images."""
        return Codes(
            {level: codes[part] for level, codes in self.codes.items()},
            None if self.labels is None else self.labels[part],
            None if self.seeds is None else self.seeds[part],
        )


@dataclass(frozen=True, eq=False)
class CodesInputs:
    """``files`` with the codes of ``counts`` images each. ``sha256`` is that of all contents.

    ``has_labels``, ``has_seeds``: all files have them. ``classes``: the names of their labels. The codes of one file
    are in memory at a time.
    """

    manifest: Manifest
    files: Sequence[Path]
    counts: Sequence[int]
    digests: Sequence[str]
    has_labels: bool
    has_seeds: bool
    classes: frozenset[str]
    _last: dict[Path, Codes] = field(default_factory=dict, repr=False)

    @staticmethod
    def check(paths: Sequence[Path], manifest: Manifest) -> CodesInputs:
        """Reads each file once. Raises InputError for one that does not fit the bundle. Notes on stderr report codes of
        unknown origin, and labels and seeds that only some files have.
        """
        files = [file for path in paths for file in codes_files(path)]
        counts, digests, labelled, seeded, origins = [], [], 0, 0, []
        classes: set[str] = set()
        for path in files:
            file = open_codes(path)
            codes = _codes(file, manifest)
            counts.append(len(codes))
            digests.append(_digest(path))
            labelled += codes.labels is not None
            classes.update(codes.labels or ())
            seeded += codes.seeds is not None
            if origin := file.check_origin(manifest.origin(), file.levels):
                origins.append(origin)
        if origins:
            others = f"; and {len(origins) - 1} more files" if len(origins) > 1 else ""
            messages.note(f"{origins[0]}{others}")
        for name, having in (("labels", labelled), ("seeds", seeded)):
            if 0 < having < len(files):
                messages.note(f"{name} are not used: only {having} of {len(files)} files have them")
        return CodesInputs(
            manifest, files, counts, digests, labelled == len(files), seeded == len(files), frozenset(classes)
        )

    def __len__(self) -> int:
        return sum(self.counts)

    @property
    def sha256(self) -> str:
        """The SHA-256 of the contents of all files."""
        return hashlib.sha256("".join(self.digests).encode()).hexdigest()

    def part(self, part: slice) -> Iterator[Codes]:
        """Yields the codes of a part of all images, file by file. Raises InputError for a file that has changed."""
        first = 0
        for path, count, digest in zip(self.files, self.counts, self.digests, strict=True):
            inside = slice(max(0, part.start - first), min(count, part.stop - first))
            first += count
            if inside.start < inside.stop:
                yield self._read(path, digest).take(inside)

    def _read(self, path: Path, digest: str) -> Codes:
        if path not in self._last:
            self._last.clear()
            if _digest(path) != digest:
                raise InputError(f"{path} changed after it was checked")
            codes = _codes(open_codes(path), self.manifest)
            labels, seeds = codes.labels if self.has_labels else None, codes.seeds if self.has_seeds else None
            self._last[path] = Codes(codes.codes, labels, seeds)
        return self._last[path]

    def all(self) -> Codes:
        """Returns the codes of all images."""
        parts = list(self.part(slice(0, len(self))))
        if len(parts) == 1:
            return parts[0]
        return Codes(
            {level: np.concatenate([part.codes[level] for part in parts]) for level in parts[0].codes},
            [label for part in parts for label in part.labels or ()] if self.has_labels else None,
            [seed for part in parts for seed in part.seeds or ()] if self.has_seeds else None,
        )


def codes_files(path: Path) -> list[Path]:
    """Returns a file, or the files of codes that a run has written into a folder, in order. Raises InputError."""
    if not path.is_dir():
        return [path]
    files = sorted(path.glob("codes-*.npz"))
    if not files:
        raise InputError(
            f"{path} holds no files codes-*.npz, as `encode` and `sample --codes` write into folders; name a file of "
            "codes (.npz), or use `latentloop reconstruct` for folders of images"
        )
    if is_journal(path / JOURNAL) and (missing := missing_shards(path)):
        messages.note(f"{path} is not finished: {missing} of its shards are missing")
    return files


def _codes(file: CodesFile, manifest: Manifest) -> Codes:
    codes = checked_codes(file, file.levels, manifest, partial=False, to_decode=True)
    n = len(codes[manifest.levels[0].name])
    return Codes(codes, file.labels(n, manifest.classes), file.seeds(n))


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
