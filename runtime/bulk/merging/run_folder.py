"""Joins the parts of a run into one folder, equal to the one that a single process would have written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from latentloop.bulk.folder import check_replaceable, remove_own_files
from latentloop.bulk.journal import ShardRecord, WrittenFile, open_journal, sync_folder, write_journal
from latentloop.bulk.merging.finished_run import FinishedRun, check_digest, finished_run
from latentloop.errors import InputError, OutputError
from latentloop.io.file_names import JOURNAL
from latentloop.io.temporaries import remove_leftovers, temporary

BLOCK = 2**20  # bytes


@dataclass
class Merged:
    """The number of ``images`` that were joined, of ``parts``; ``linked`` and ``copied`` files."""

    images: int
    parts: int
    linked: int = 0
    copied: int = 0


def merge_folder(
    folders: Sequence[Path], target: Path, *, force: bool = False, merged: Callable[[int, int], None] | None = None
) -> Merged:
    """Makes ``target`` with the files and the journal of the whole run whose parts are in ``folders``, all at once.
    The parts stay. Files are hard links to those of the parts where the file system can do that, else copies.
    ``merged`` is called with the number of images of each shard that is finished, and that of all.

    Raises InputError if the run is not complete, or a file is missing or differs from what its journal lists;
    OutputError if the target exists (unless ``force``, which replaces an earlier run) or cannot be written.
    """
    run = finished_run(folders)
    own = target.resolve()
    for part in run.parts:
        folder = part.folder.resolve()
        if own == folder or folder in own.parents or own in folder.parents:
            raise InputError(f"--out {target}/ is, holds or is in {part.folder}, which is to be read: choose another")
    result = Merged(run.shards.n, len(run.parts))
    try:
        remove_leftovers(own.parent)
        with _locked(target), temporary(own) as names:
            _check_target(target, force)
            names.new.mkdir()
            write_journal(names.new, run.header, _placed(run, names.new, result, merged))
            _check_target(target, force)  # again: another process may have made it
            if own.is_dir():
                remove_own_files(own)
                (own / JOURNAL).unlink(missing_ok=True)
            names.new.rename(own)
        sync_folder(own.parent)
    except OSError as error:
        raise OutputError(f"cannot merge into {target}: {error}") from error
    return result


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Holds the lock of an earlier run's journal. Raises OutputError if another process has it."""
    journal = open_journal(target, force=True) if (target / JOURNAL).is_file() else None
    try:
        yield
    finally:
        if journal is not None:
            journal.close()


def _check_target(target: Path, force: bool) -> None:
    """Raises OutputError unless the run may be written."""
    if os.path.lexists(target):
        if not target.is_dir():
            raise OutputError(f"{target} is a file, expected a folder: choose another name")
        if not force:
            raise OutputError(f"{target} exists; pass --force to replace it")
        check_replaceable(target)


def _placed(
    run: FinishedRun, folder: Path, result: Merged, merged: Callable[[int, int], None] | None
) -> Iterator[ShardRecord]:
    """Puts the files of the run's shards into a folder, and yields the shards' records. Raises InputError, OSError."""
    parents = {folder}
    for source, record in run.records():
        for file in record.files:
            place = folder / file.name
            if place.parent not in parents:
                place.parent.mkdir()
                parents.add(place.parent)
            if _is_linked(source / file.name, place, file):
                result.linked += 1
            else:
                result.copied += 1
        if merged is not None:
            merged(record.images, run.shards.n)
        yield record
    for parent in parents:
        sync_folder(parent)


def _is_linked(source: Path, place: Path, file: WrittenFile) -> bool:
    """Makes ``place`` a hard link to a file, or a copy of it; returns whether it is a link. Raises InputError if the
    content is not the journal's.
    """
    try:
        os.link(source, place)
    except OSError:  # another file system, or one without links, or the most links of a file
        _copy(source, place, file)
        return False
    with place.open("rb") as content:
        check_digest(source, file, hashlib.file_digest(content, "sha256").hexdigest())
    return True


def _copy(source: Path, place: Path, file: WrittenFile) -> None:
    digest = hashlib.sha256()
    with source.open("rb") as content, place.open("xb") as copy:
        while block := content.read(BLOCK):
            digest.update(block)
            copy.write(block)
        copy.flush()
        os.fsync(copy.fileno())
    check_digest(source, file, digest.hexdigest())
