"""The folder of a command's run: an earlier run in it goes on, is replaced, or is refused."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from latentloop.bulk.folder import check_replaceable, remove_own_files
from latentloop.bulk.journal import Journal, ShardRecord, create_journal, open_journal
from latentloop.bulk.recorded import check_same, recorded_part, recorded_shards
from latentloop.bulk.resuming import clean, finished_shards
from latentloop.bulk.shards import WHOLE, Shards
from latentloop.cli import messages
from latentloop.errors import OutputError
from latentloop.io.file_names import JOURNAL

MOST_LISTED = 10_000  # images that a summary lists


@dataclass
class RunFolder:
    """A folder with the ``journal`` of an earlier run, locked, or without one. ``force`` replaces an earlier run."""

    path: Path
    force: bool
    journal: Journal | None
    _is_new: bool = False  # made by this process

    @property
    def goes_on(self) -> bool:
        """Whether an earlier run goes on."""
        return self.journal is not None and not self.force

    @property
    def before(self) -> dict[str, Any]:
        """The header of the run that goes on, else empty."""
        return self.journal.header if self.journal is not None and not self.force else {}

    @property
    def journal_path(self) -> Path:
        """The journal's path."""
        return self.path / JOURNAL

    def check_same(self, fields: Mapping[str, Any]) -> None:
        """Raises InputError if a run goes on of which one of the fields had another value."""
        if self.goes_on:
            check_same(self.journal_path, self.before, fields)

    @cached_property
    def finished(self) -> dict[int, int]:
        """The number of images by finished shard of the run that goes on. Notes what is to be made again."""
        shards = recorded_shards(self.before)
        if self.journal is None or shards is None:
            return {}
        numbers = (recorded_part(self.before) or WHOLE).numbers(shards)
        return finished_shards(self.path, self.journal, shards, numbers, messages.note)

    @property
    def finished_run(self) -> Shards | None:
        """The shards of the run that goes on, if all are finished."""
        shards = recorded_shards(self.before)
        return shards if shards is not None and len(self.finished) == shards.count else None

    def begin(self, fields: Mapping[str, Any], finished: Mapping[int, int], n: int) -> Journal:
        """Prepares the folder for a run of n images that goes on after the ``finished`` shards, or for a new one, and
        returns its journal. Raises OutputError.
        """
        if self.goes_on and self.journal is not None:
            clean(self.path, self.journal, finished)
            if finished:
                messages.note(f"{self.path}/: goes on after {sum(finished.values())} of {n} images")
            return self.journal
        if self.path.is_dir():
            remove_own_files(self.path)
        if self.journal is not None:
            self.journal.replace(fields, iter(()))
        else:
            self._is_new = not self.path.is_dir()
            self.journal = create_journal(self.path, fields)
        return self.journal

    def records(self) -> list[ShardRecord]:
        """Returns the last record of each shard that has images, in order; a partial one is of this process."""
        assert self.journal is not None
        last = {record.shard: record for record in self.journal.records()}
        return [last[number] for number in sorted(last)]

    def remove_empty(self) -> None:
        """Removes the journal and the folder of a run that has no image, unless there is something else in it."""
        if self.journal is not None and not any(record.images for record in self.journal.records()):
            self.journal.path.unlink(missing_ok=True)
            with suppress(OSError):
                if self._is_new:
                    self.path.rmdir()


@contextmanager
def open_run_folder(path: Path, *, force: bool) -> Iterator[RunFolder]:
    """Yields a folder, with its journal locked if it exists; an empty folder is as good as none. Raises OutputError if
    no run can be written there.
    """
    path = path.resolve() if ".." in path.parts else path  # folders before a ".." need not exist
    folder = RunFolder(path, force, _existing_journal(path, force))
    try:
        yield folder
    finally:
        if folder.journal is not None:
            folder.journal.close()


def already_there(shown: str, n: int, figures: str = "") -> str:
    """Returns the line for a run all of whose n images are there already."""
    images = "the image is" if n == 1 else f"all {n} images are"
    return f"{shown}: {images} there already{figures}; --force makes {'it' if n == 1 else 'them'} anew"


def _existing_journal(folder: Path, force: bool) -> Journal | None:
    """Returns the locked journal of a folder that exists. Raises OutputError if no run can be written there."""
    if not folder.is_dir():
        return None
    path = folder / JOURNAL
    if os.path.lexists(path) and not path.is_file():
        raise OutputError(f"{path} is not a file: remove it, or choose another folder")
    if path.is_file():
        journal = open_journal(folder, force=force)
    elif not force and any(folder.iterdir()):
        raise OutputError(f"{folder} exists; pass --force (in Python force=True) to replace it")
    else:
        journal = None
    if force:
        try:
            check_replaceable(folder)
        except BaseException:
            if journal is not None:
                journal.close()
            raise
    return journal
