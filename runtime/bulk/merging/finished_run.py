"""A finished run in one folder, or in several that have its parts: read, and checked for completeness."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentloop.bulk.folder import first_missing
from latentloop.bulk.journal import Journal, ShardRecord, WrittenFile, read_journal
from latentloop.bulk.recorded import first_difference, no_shards, recorded_part, recorded_shards
from latentloop.bulk.shards import WHOLE, RunPart, Shards
from latentloop.errors import InputError, OutputError

GO_ON = "go on with the command that wrote it"
MOST_NAMED = 5  # parts that a message names


@dataclass(frozen=True, eq=False)
class FinishedPart:
    """A part of a run, or a whole run, in a folder of its own. ``numbers`` are those of its shards."""

    folder: Path
    journal: Journal
    part: RunPart | None  # None for a whole run
    shards: Shards

    @property
    def numbers(self) -> range:
        """The numbers of the part's shards."""
        return (self.part or WHOLE).numbers(self.shards)

    def records(self) -> list[ShardRecord]:
        """Returns the records of the part's shards, in order. Raises InputError if shards or files are missing."""
        by_shard = {record.shard: record for record in self.journal.records()}
        numbers = self.numbers
        missing = [number for number in numbers if number not in by_shard or by_shard[number].partial]
        if missing:
            raise InputError(
                f"{self.folder} is not finished, {_are_missing(len(missing), len(numbers), 'shards')}, the first is "
                f"number {missing[0]}: {GO_ON}"
            )
        for number in numbers:
            if problem := first_missing(self.folder, by_shard[number]):
                raise InputError(f"{self.folder}: {problem}: {GO_ON}")
        return [by_shard[number] for number in numbers]


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A run that is finished, in ``parts`` in the order of their shards. ``header`` is that of a journal of the whole
    run.
    """

    header: dict[str, Any]
    shards: Shards
    parts: tuple[FinishedPart, ...]

    def records(self) -> Iterator[tuple[Path, ShardRecord]]:
        """Yields the folder and the record of every shard, in order; those of one part are in memory at a time.

        Raises InputError.
        """
        for part in self.parts:
            for record in part.records():
                yield part.folder, record


def finished_run(folders: Sequence[Path], *, only: str | None = None) -> FinishedRun:
    """Returns the run in ``folders``: a whole one, or all parts of one. ``only``: the format that it must have.

    Raises InputError if a folder holds no run, the parts are not of the same run, one is missing or there twice, or
    shards or files are missing.
    """
    parts = [_part(folder) for folder in folders]
    first = parts[0]
    if only is not None and (found := first.journal.header.get("files")) != only:
        raise InputError(
            f"{first.folder} holds {found} files, and only .{only} shards become one file: draw them with --format "
            f"{only}; --out DIR/ joins the parts of a run in any format"
        )
    for part in parts[1:]:
        for each in (first, part):
            if each.part is None:
                raise InputError(f"{each.folder} holds a whole run, expected a part, as `sample --shard i/n` writes it")
        differing = first_difference(_without_part(first), _without_part(part))
        if differing:
            field, one, other = differing
            raise InputError(
                f"{first.folder} and {part.folder} are parts of different runs: {field} is {one} and {other}"
            )
    by_index: dict[int, FinishedPart] = {}
    for part in parts:
        own, of = part.part or WHOLE, (first.part or WHOLE).count
        if own.count != of:
            raise InputError(f"{first.folder} is part {first.part} of its run, and {part.folder} part {own}")
        if twice := by_index.get(own.index):
            raise InputError(f"{twice.folder} and {part.folder} are both part {own}: name each part once")
        by_index[own.index] = part
    _check_all_there(first, by_index)
    ordered = tuple(by_index[index] for index in sorted(by_index))
    for part in ordered:
        part.records()
    header = {**first.journal.header, "part": None} if first.part else first.journal.header
    return FinishedRun(header, first.shards, ordered)


def check_digest(path: Path, file: WrittenFile, found: str) -> None:
    """Raises InputError unless the SHA-256 that was ``found`` in a file is the one that the journal lists."""
    if found != file.sha256:
        raise InputError(
            f"{path} was changed: its SHA-256 is {found[:12]}…, the journal lists {file.sha256[:12]}…: remove it, and "
            "go on with the command that wrote it"
        )


def _part(folder: Path) -> FinishedPart:
    """Reads the first line of a folder's journal. Raises InputError."""
    try:
        journal = read_journal(folder)
    except OutputError as error:
        raise InputError(f"{folder} holds no run: {error}") from error
    journal.close()
    shards = recorded_shards(journal.header)
    if shards is None:
        raise InputError(no_shards(journal.path, journal.header))
    try:
        part = recorded_part(journal.header)
    except InputError as error:
        raise InputError(f"{journal.path}: line 1 has part {error}") from error
    return FinishedPart(folder, journal, part, shards)


def _without_part(part: FinishedPart) -> dict[str, Any]:
    return {name: value for name, value in part.journal.header.items() if name != "part"}


def _check_all_there(first: FinishedPart, by_index: dict[int, FinishedPart]) -> None:
    """Raises InputError if a part that has shards is missing."""
    count, shards = (first.part or WHOLE).count, first.shards
    missing = [RunPart(index, count) for index in range(count) if index not in by_index]
    missing = [part for part in missing if part.numbers(shards)]
    if missing:
        named = ", ".join(map(str, missing[:MOST_NAMED])) + (", …" if len(missing) > MOST_NAMED else "")
        lacking = sum(len(part.numbers(shards)) for part in missing)
        raise InputError(
            f"{_are_missing(len(missing), count, 'parts')} ({named}), with {lacking} of {shards.count} shards: name "
            "the folder of every part"
        )


def _are_missing(missing: int, count: int, things: str) -> str:
    return f"{missing} of {count} {things} {'is' if missing == 1 else 'are'} missing"
