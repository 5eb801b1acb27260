"""The loop of a run: shards are drawn, while those before are encoded, written and listed in the journal."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from latentloop.bulk.folder import clear_unfinished, first_missing, move_into_place, remove_files
from latentloop.bulk.journal import Journal, ShardRecord
from latentloop.bulk.pipeline import Pipeline
from latentloop.bulk.run import BulkRun, Drawn
from latentloop.bulk.shard_files import Shard, ShardWriter
from latentloop.errors import OutputError
from latentloop.sampling.results import Callback
from latentloop.sampling.sampler import Sampler

ENCODERS = 4  # threads: they also wait for the disk


def finished_shards(folder: Path, journal: Journal, note: Callable[[str], None]) -> dict[int, int]:
    """Returns the number of images by shard, for the shards whose files are in place. Notes others, and lines of the
    journal that are damaged: their shards are to be drawn again.
    """
    finished: dict[int, int] = {}
    problems: dict[int, str] = {}
    damaged: list[int] = []
    for record in journal.records(damaged):
        finished.pop(record.shard, None)
        problems.pop(record.shard, None)
        if record.partial:
            continue
        if problem := first_missing(folder, record):
            problems[record.shard] = problem
        else:
            finished[record.shard] = record.images
    if damaged:
        lines = (
            f"line {damaged[0]} is" if len(damaged) == 1 else f"{len(damaged)} lines, the first is {damaged[0]}, are"
        )
        note(f"{journal.path}: {lines} damaged: what it lists is drawn again")
    for shard, problem in problems.items():
        note(f"{folder}: {problem}: shard {shard} is drawn again")
    return finished


def clean(folder: Path, journal: Journal, finished: Collection[int]) -> None:
    """Removes what an earlier process left that is no finished shard: unfinished files, and those of the shards that
    are drawn again; and lines of the journal that say nothing any more. Raises OutputError.
    """
    with output_errors(folder):
        clear_unfinished(folder)
        damaged: list[int] = []
        kept, stale = 0, 0
        for record in journal.records(damaged):
            if record.shard in finished and not record.partial:
                kept += 1
            else:
                stale += 1
                if record.shard not in finished:
                    remove_files(folder, record)
        if damaged or stale or kept > len(finished):
            last = {record.shard: number for number, record in enumerate(journal.records())}
            journal.replace(
                journal.header,
                (
                    record
                    for number, record in enumerate(journal.records())
                    if record.shard in finished and last[record.shard] == number
                ),
            )


def draw_run(
    sampler: Sampler,
    run: BulkRun,
    folder: Path,
    journal: Journal,
    finished: Collection[int],
    callback: Callback | None = None,
    drawn: Callable[[Drawn], None] | None = None,
) -> int:
    """Draws the shards that are not ``finished``, and returns the number of images whose files are now in place.

    If ``callback`` cancels the run, the finished batches of the last shard are written, too, as a partial shard.
    ``drawn`` is called with all samples, in order. Raises OutputError; then all shards in the journal are in place.
    """
    done = 0
    writers: dict[int, ShardWriter] = {}

    def close_shard(number: int, is_partial: bool) -> None:
        nonlocal done
        files, images = writers[number].finish(), writers[number].images
        move_into_place(folder, files)
        journal.append(ShardRecord(number, images, is_partial, files))
        del writers[number]
        done += images

    with output_errors(folder):
        clear_unfinished(folder, again=True)
        try:
            with ThreadPoolExecutor(ENCODERS, "latentloop-encoder") as pool, Pipeline() as pipeline:
                for number in range(run.shards.count):
                    if number in finished:
                        continue
                    part = run.shards.part(number)
                    missing, cancelled = part.stop - part.start, False
                    for batch in run.drawn(sampler, number, callback):
                        writer = writers.setdefault(number, ShardWriter(Shard(folder, number, run, pool)))
                        missing -= len(batch.samples.images)
                        cancelled = batch.samples.cancelled
                        if drawn is not None:
                            drawn(batch)
                        pipeline.submit(partial(writer.add, batch.samples))
                    is_partial = cancelled or missing > 0
                    if number in writers:
                        pipeline.submit(partial(close_shard, number, is_partial))
                    if is_partial:
                        break
                pipeline.finish()
        finally:
            for writer in writers.values():
                writer.close()
            clear_unfinished(folder)
    return done


@contextmanager
def output_errors(folder: Path) -> Iterator[None]:
    """Converts OSError in the block to OutputError."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"cannot write {folder}: {error.strerror or error}; the shards that are finished stay, and the same "
            "command goes on"
        ) from error
