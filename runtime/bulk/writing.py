"""The loop of a run: shards are made, while those before are written and listed in the journal."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from latentloop.bulk.folder import clear_unfinished, move_into_place, output_errors
from latentloop.bulk.journal import Journal, ShardRecord
from latentloop.bulk.pipeline import Pipeline
from latentloop.bulk.run import B, Run, Shard, ShardWriter

ENCODERS = 4  # threads: they also wait for the disk


def write_run(
    run: Run[B],
    folder: Path,
    journal: Journal,
    finished: Collection[int],
    made: Callable[[B], None] | None = None,
) -> int:
    """Makes the shards that are not ``finished``, and returns the number of images whose files are now in place.

    If the run is stopped, the finished batches of the last shard are written, too, as a partial shard. ``made`` is
    called with all batches, in order. Raises OutputError; then all shards in the journal are in place.
    """
    done = 0
    writers: dict[int, ShardWriter[B]] = {}

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
                    for batch in run.batches(number):
                        if number not in writers:
                            writers[number] = run.writer(Shard(folder, number, run.shards, pool))
                        missing -= batch.count
                        cancelled = batch.cancelled
                        if made is not None:
                            made(batch)
                        pipeline.submit(partial(writers[number].add, batch))
                    is_partial = missing > 0
                    if number in writers:
                        pipeline.submit(partial(close_shard, number, is_partial))
                    if is_partial or cancelled:
                        break
                pipeline.finish()
        finally:
            for writer in writers.values():
                writer.close()
            clear_unfinished(folder)
    return done
