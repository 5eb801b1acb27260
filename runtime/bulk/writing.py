"""Files of shards are made, moved into place, and listed in the journal.

``write_run`` makes them in this process; ``write_made`` takes those that other processes made.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Generic

from latentloop.bulk.folder import clear_unfinished, move_into_place, output_errors, write_unfinished
from latentloop.bulk.journal import Journal, ShardRecord
from latentloop.bulk.pipeline import Pipeline
from latentloop.bulk.run import B, Run, Shard, ShardWriter
from latentloop.errors import OutputError

ENCODERS = 4  # threads: they also wait for the disk


@dataclass(frozen=True, eq=False)
class MadeShard:
    """A shard whose files another process has made: their ``contents`` in the order of ``record.files``."""

    record: ShardRecord
    contents: Sequence[memoryview]


class ShardPipeline(Generic[B]):
    """Makes the batches of shards, while those before are written as unfinished files in other threads.

    Use it as a context manager: at the end of the block all unfinished files are closed.
    """

    def __init__(
        self,
        run: Run[B],
        folder: Path,
        finished: Callable[[ShardRecord], None],
        made: Callable[[B], None] | None = None,
    ) -> None:
        """``made`` is called with all batches, in order; ``finished``, in another thread, when the files of a shard are
        on the disk.
        """
        self._run, self._folder, self._finished, self._made = run, folder, finished, made
        self._pool = ThreadPoolExecutor(ENCODERS, "latentloop-encoder")
        self._pipeline = Pipeline()
        self._writers: dict[int, ShardWriter[B]] = {}

    def make(self, number: int) -> bool:
        """Makes a shard, and returns False if the run was stopped: then the shard may lack images. Raises OSError."""
        part, failed, cancelled = self._run.shards.part(number), 0, False
        missing = part.stop - part.start
        for batch in self._run.batches(number):
            if number not in self._writers:
                self._writers[number] = self._run.writer(Shard(self._folder, number, self._run.shards, self._pool))
            missing -= batch.count
            failed += batch.failed
            cancelled = batch.cancelled
            if self._made is not None:
                self._made(batch)
            self._pipeline.submit(partial(self._writers[number].add, batch))
        if number in self._writers:
            self._pipeline.submit(partial(self._close, number, missing + failed > 0 or cancelled))
        return not (missing or cancelled)

    def finish(self) -> None:
        """Returns when all shards are finished. Raises OSError."""
        self._pipeline.finish()

    def _close(self, number: int, is_partial: bool) -> None:
        files, images = self._writers[number].finish(), self._writers[number].images
        self._finished(ShardRecord(number, images, is_partial, files))
        del self._writers[number]

    def __enter__(self) -> ShardPipeline[B]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self._pipeline.__exit__(kind, error, at)
            self._pool.shutdown()
        finally:
            for writer in self._writers.values():
                writer.close()


def write_run(
    run: Run[B],
    folder: Path,
    journal: Journal,
    finished: Collection[int],
    made: Callable[[B], None] | None = None,
    numbers: Iterable[int] | None = None,
) -> int:
    """Makes the shards that are not ``finished``, of ``numbers`` if given, and returns the number of images whose files
    are now in place.

    If the run is stopped, the finished batches of the last shard are written, too, as a partial shard. ``made`` is
    called with all batches, in order. Raises OutputError; then all shards in the journal are in place.
    """
    done = 0

    def place(record: ShardRecord) -> None:
        nonlocal done
        _place(folder, journal, record)
        done += record.images

    with output_errors(folder):
        clear_unfinished(folder, again=True)
        try:
            with ShardPipeline(run, folder, place, made) as pipeline:
                for number in range(run.shards.count) if numbers is None else numbers:
                    if number not in finished and not pipeline.make(number):
                        break
                pipeline.finish()
        finally:
            clear_unfinished(folder)
    return done


def write_made(shards: Iterable[MadeShard], folder: Path, journal: Journal) -> int:
    """Writes shards as they arrive, in any order, and returns the number of images whose files are now in place.

    At most two shards wait while one is written. Raises OutputError; then all shards in the journal are in place.
    """
    done = 0
    with output_errors(folder):
        clear_unfinished(folder, again=True)
        try:
            with ThreadPoolExecutor(ENCODERS, "latentloop-files") as pool, Pipeline(waiting=1) as pipeline:
                for shard in shards:
                    pipeline.submit(partial(_write_made, shard, folder, journal, pool))
                    done += shard.record.images
                pipeline.finish()
        finally:
            clear_unfinished(folder)
    return done


def _write_made(shard: MadeShard, folder: Path, journal: Journal, pool: ThreadPoolExecutor) -> None:
    names = [file.name for file in shard.record.files]
    files = tuple(pool.map(partial(write_unfinished, folder), names, shard.contents))
    if files != shard.record.files:
        raise OutputError(f"shard {shard.record.shard} was damaged on its way here: run the same command again")
    _place(folder, journal, shard.record)


def _place(folder: Path, journal: Journal, record: ShardRecord) -> None:
    """Moves the files of a shard into place, and lists it. Raises OSError, OutputError."""
    move_into_place(folder, record.files)
    journal.append(record)
