"""``latentloop sample`` into a folder: a run in shards, which goes on where an earlier process stopped."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from latentloop.bulk.drawing import clean, draw_run, finished_shards
from latentloop.bulk.folder import check_own_files, remove_own_files
from latentloop.bulk.journal import Journal, create_journal, open_journal
from latentloop.bulk.recorded import check_same
from latentloop.bulk.run import BulkRun, Drawn
from latentloop.bulk.shards import Shards
from latentloop.cli import messages, options
from latentloop.cli.folder_settings import check_codes_option, choices_of, command_fields, machine_fields, planned_run
from latentloop.cli.image_output import ImageOutput
from latentloop.cli.interrupt import StopRequest, stop_request
from latentloop.cli.progress import Bar
from latentloop.cli.sample_job import SampleJob, plan_sampling
from latentloop.errors import OutputError
from latentloop.io.file_names import JOURNAL
from latentloop.io.replaceable import check_not_working_directory

if TYPE_CHECKING:
    from latentloop.sampling.results import Progress
    from latentloop.sampling.sampler import Sampler

MOST_LISTED = 10_000  # images whose seeds and labels the summary lists


def sample_to_folder(arguments: argparse.Namespace, output: ImageOutput) -> int:
    """Draws the samples that the folder lacks, and returns the exit status. Raises LatentLoopError."""
    with ExitStack() as stack:
        journal = _existing_journal(output)
        if journal is not None:
            stack.callback(journal.close)
        return _sample(arguments, output, journal, stack)


def _existing_journal(output: ImageOutput) -> Journal | None:
    """Returns the locked journal of a folder that exists. Raises OutputError if no run can be written there."""
    folder = output.path
    if not folder.is_dir():
        return None
    if (folder / JOURNAL).is_file():
        journal = open_journal(folder, force=output.force)
    elif not output.force:
        raise OutputError(f"{folder} exists; pass --force (in Python force=True) to replace it")
    else:
        journal = None
    if output.force:
        try:
            _check_replaceable(folder)
        except BaseException:
            if journal is not None:
                journal.close()
            raise
    return journal


def _check_replaceable(folder: Path) -> None:
    """Raises OutputError unless ``--force`` may replace what is in the folder."""
    if folder.is_symlink():
        raise OutputError(f"{folder} is not a folder, choose another name for the folder of images")
    check_not_working_directory(folder)
    check_own_files(folder)


def _sample(arguments: argparse.Namespace, output: ImageOutput, journal: Journal | None, stack: ExitStack) -> int:
    started = time.perf_counter()
    # 1. The run that the command describes. What it leaves open is as before, if the run goes on.
    before = {} if journal is None or output.force else journal.header
    goes_on = journal is not None and not output.force
    if arguments.given is not None:
        output.check_inputs([arguments.given])
    check_codes_option(arguments, output, before)
    choices = choices_of(arguments, before, output.path / JOURNAL)
    bundle = options.open_bundle(options.bundle_path(arguments))

    @cache
    def open_sampler() -> Sampler:
        from latentloop.sampling.sampler import Sampler

        return Sampler(bundle, choices.device or arguments.device, choices.threads, arguments.precision)

    job = plan_sampling(arguments, bundle.manifest, open_sampler, output, choices.seed)
    fields = command_fields(arguments, job, choices)
    if goes_on:
        assert journal is not None
        check_same(journal.path, before, fields)
    # 2. Nothing to do?
    finished: dict[int, int] = {}
    n = job.request.n
    if goes_on and journal is not None and choices.shard_size is not None:
        finished = finished_shards(output.path, journal, messages.note)
        if arguments.codes is not None and before.get("codes") != "beside" and not arguments.codes.exists():
            finished = {}
        if len(finished) == Shards(n, choices.shard_size).count:
            return _report_finished(arguments, output, n, choices.shard_size)
    # 3. The sampler, and what depends on it.
    sampler = open_sampler()
    run = planned_run(arguments, job, choices, sampler, goes_on=goes_on)
    fields |= machine_fields(sampler, run)
    if goes_on and journal is not None:
        check_same(journal.path, before, fields)
    if any((arguments.given, arguments.label, arguments.top_k, arguments.min_p, arguments.best)):
        from latentloop.cli.unused_options import note_unused_options

        note_unused_options(arguments, job)
    if goes_on and journal is not None:
        clean(output.path, journal, finished)
        if finished:
            messages.note(f"{output}: goes on after {sum(finished.values())} of {n} images")
    else:
        if journal is not None or output.path.is_dir():
            remove_own_files(output.path)
        if journal is not None:
            journal.replace(fields, iter(()))
        else:
            journal = create_journal(output.path, fields)
            stack.callback(journal.close)
    return _draw(arguments, output, journal, job, run, sampler, finished, started)


def _draw(
    arguments: argparse.Namespace,
    output: ImageOutput,
    journal: Journal,
    job: SampleJob,
    run: BulkRun,
    sampler: Sampler,
    finished: dict[int, int],
    started: float,
) -> int:
    """Draws the shards that are not finished, reports, and returns the exit status."""
    n, loaded = run.shards.n, time.perf_counter()
    drawn = _Record(listed=n <= MOST_LISTED)
    try:
        with stop_request() as stop, Bar("row") as bar:
            written = draw_run(
                sampler, run, output.path, journal, finished, _after_row(run, bar, stop, sum(finished.values())), drawn
            )
    finally:
        if not finished and not drawn.images:
            _remove_empty(journal)
    seconds, done = time.perf_counter() - loaded, written + sum(finished.values())
    from latentloop.cli.slower import slower_because

    slower = slower_because(sampler.device, arguments.device, sampler.device_reason)
    beside = run.codes is not None and run.codes.file is None
    summary = {
        "file": str(output) if done else None,
        "format": run.format,
        "codes": (str(output) if beside else str(arguments.codes)) if arguments.codes and done else None,
        "bundle": str(sampler.bundle.path),
        "images": done,
        "images_before": sum(finished.values()),
        "shards": run.shards.count,
        "shard_size": run.shards.size,
        "batch_size": run.batch_size,
        "seed": job.seed,
        "seeds": drawn.seeds if drawn.listed and not finished else None,
        "labels": [job.request.manifest.classes[label] for label in drawn.labels]
        if drawn.listed and drawn.labels and not finished
        else None,
        "candidates": drawn.candidates if run.best is not None else None,
        "confidence": drawn.confidence if run.best is not None and drawn.listed and not finished else None,
        "seconds": seconds,
        "images_per_second": written / seconds,
        "load_seconds": loaded - started,
        "device": sampler.device,
        "device_reason": sampler.device_reason,
        "slower_because": slower,
        "threads": sampler.threads,
        "precision": sampler.precision,
        "cancelled": done < n,
    }
    last_seed = job.seed + (drawn.candidates if run.best is not None else done) - 1
    seeds = f"seeds {job.seed} to {last_seed}" if last_seed > job.seed else f"seed {job.seed}"
    best = f"the best of {drawn.candidates} with " if run.best is not None else ""
    now = f", {written} of them now," if finished else ""
    line = (
        f"{output}: {done} {messages.plural(done, 'image')}{now} in {seconds:.2f} s "
        f"({written / seconds:.1f} per second) on {sampler.device}, {best}{seeds}"
    )
    if slower:
        line += f"; slower than possible here: {'; '.join(slower)}"
    messages.print_result(summary, line if done else "", as_json=arguments.json)
    go_on = "; the same command goes on" if 0 < done < n else ""
    return messages.exit_status(stop, messages.finished(done, n) + go_on)


class _Record:
    """What was drawn: called with every batch."""

    def __init__(self, listed: bool) -> None:
        self.listed, self.images, self.candidates = listed, 0, 0
        self.seeds: list[int] = []
        self.labels: list[int] = []
        self.confidence: list[float] = []

    def __call__(self, batch: Drawn) -> None:
        self.images += len(batch.samples.images)
        self.candidates += batch.images
        if self.listed:
            self.seeds += batch.samples.seeds.tolist()
            self.labels += [] if batch.samples.labels is None else batch.samples.labels.tolist()
            self.confidence += [] if batch.confidence is None else batch.confidence.tolist()


def _after_row(run: BulkRun, bar: Bar, stop: StopRequest, done_before: int) -> Callable[[Progress], bool]:
    manifest = run.request.manifest
    height = sum(manifest.level(name).height for name in run.request.drawn_levels)
    total = int(run.candidates_before[-1])
    rows, has_results = height * -(-total // run.batch_size), False

    def after_row(progress: Progress) -> bool:
        nonlocal has_results
        bar.update(1, rows, f"{progress.images_done} of {total} images")
        if progress.images_done and not has_results:
            has_results = True
            stop.wait_for_results()
        return not stop.is_set()

    return after_row


def _report_finished(arguments: argparse.Namespace, output: ImageOutput, n: int, shard_size: int) -> int:
    line = f"{output}: all {n} {messages.plural(n, 'image')} are there already; --force draws them anew"
    summary = {
        "file": str(output),
        "images": n,
        "images_before": n,
        "shards": Shards(n, shard_size).count,
        "shard_size": shard_size,
        "cancelled": False,
    }
    messages.print_result(summary, line, as_json=arguments.json)
    return 0


def _remove_empty(journal: Journal) -> None:
    """Removes the journal and the folder of a run that has no image, unless there is something else in it."""
    if next(journal.records(), None) is None:
        journal.path.unlink(missing_ok=True)
        with suppress(OSError):
            journal.path.parent.rmdir()
