"""Which shards of a run are finished, and removal of what an earlier process left besides."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from latentloop.bulk.folder import clear_unfinished, first_missing, output_errors, remove_files
from latentloop.bulk.journal import IMAGE_FILE, SHARD_FILE, Journal, ShardRecord, read_journal
from latentloop.bulk.recorded import no_shards, recorded_part, recorded_shards
from latentloop.bulk.shards import WHOLE, Shards
from latentloop.errors import InputError, OutputError


def finished_shards(
    folder: Path, journal: Journal, shards: Shards, numbers: range, note: Callable[[str], None]
) -> dict[int, int]:
    """Returns the number of images by shard, for those of the shards ``numbers`` whose files are in place. Notes
    others, and lines of the journal that are damaged: their shards are to be drawn again.
    """
    finished: dict[int, int] = {}
    problems: dict[int, str] = {}
    damaged: list[int] = []
    for record in journal.records(damaged):
        finished.pop(record.shard, None)
        problems.pop(record.shard, None)
        if record.partial:
            continue
        if record.shard not in numbers or not _is_of(record, shards):
            note(f"{journal.path}: shard {record.shard} with {record.images} images is none of this run's: ignored")
        elif problem := first_missing(folder, record):
            problems[record.shard] = problem
        else:
            finished[record.shard] = record.images
    if damaged:
        lines = (
            f"line {damaged[0]} is" if len(damaged) == 1 else f"{len(damaged)} lines, the first is {damaged[0]}, are"
        )
        note(f"{journal.path}: {lines} damaged: a shard that no other line lists is drawn again")
    for shard, problem in problems.items():
        note(f"{folder}: {problem}: shard {shard} is drawn again")
    return finished


def _is_of(record: ShardRecord, shards: Shards) -> bool:
    """Returns whether the number of images and the files' names are possible for a shard."""
    part = shards.part(record.shard)
    numbers = [match for file in record.files if (match := SHARD_FILE.fullmatch(file.name))]
    indices = [match for file in record.files if (match := IMAGE_FILE.fullmatch(file.name))]
    return (
        record.images <= part.stop - part.start
        and all(int(match[1]) == record.shard for match in numbers)
        and all(part.start <= int(match[1]) < part.stop for match in indices)
    )


def clean(folder: Path, journal: Journal, finished: Collection[int]) -> None:
    """Removes what an earlier process left that is no finished shard: unfinished files, and those of the shards that
    are drawn again; and lines of the journal that say nothing any more. Raises OutputError.
    """
    with output_errors(folder):
        clear_unfinished(folder)
        damaged: list[int] = []
        kept = 0
        stale: set[str] = set()
        for record in journal.records(damaged):
            if record.shard in finished and not record.partial:
                kept += 1
            else:
                stale.update(file.name for file in record.files)
        if not (damaged or stale or kept > len(finished)):
            return
        last = {record.shard: number for number, record in enumerate(journal.records())}

        def kept_records() -> Iterator[ShardRecord]:
            for number, record in enumerate(journal.records()):
                if record.shard in finished and last[record.shard] == number:
                    yield record

        for record in kept_records():  # a damaged journal may list a file twice
            stale.difference_update(file.name for file in record.files)
        remove_files(folder, stale)
        journal.replace(journal.header, kept_records())


def missing_shards(folder: Path) -> int:
    """Returns how many shards of a folder's run, or of its part of a run, are not finished. Raises OutputError."""
    journal = read_journal(folder)
    try:
        shards, part = recorded_shards(journal.header), recorded_part(journal.header) or WHOLE
        if shards is None:
            raise OutputError(no_shards(journal.path, journal.header))
        partial = {record.shard: record.partial for record in journal.records()}
    except InputError as error:
        raise OutputError(f"{journal.path}: line 1: {error}") from error
    finally:
        journal.close()
    return len(part.numbers(shards)) - list(partial.values()).count(False)
