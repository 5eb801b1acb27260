"""``latentloop sample`` into a folder: a run in shards, which goes on where an earlier process stopped."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from latentloop.bulk.sample_run import Drawn, SampleRun
from latentloop.bulk.shards import Shards
from latentloop.bulk.writing import write_run
from latentloop.cli import messages, options
from latentloop.cli.folders.choices import choices_of, machine_fields
from latentloop.cli.folders.opening import RunFolder, open_run_folder, report_finished
from latentloop.cli.folders.sample_settings import check_codes_option, command_fields, planned_run
from latentloop.cli.image_output import ImageOutput
from latentloop.cli.interrupt import StopRequest, stop_request
from latentloop.cli.progress import Bar
from latentloop.cli.sample_job import SampleJob, plan_sampling

if TYPE_CHECKING:
    from latentloop.sampling.results import Progress
    from latentloop.sampling.sampler import Sampler

MOST_LISTED = 10_000  # images whose seeds and labels the summary lists


def sample_to_folder(arguments: argparse.Namespace, output: ImageOutput) -> int:
    """Draws the samples that the folder lacks, and returns the exit status. Raises LatentLoopError."""
    with open_run_folder(output.path, force=output.force) as folder:
        return _sample(arguments, output, folder)


def _sample(arguments: argparse.Namespace, output: ImageOutput, folder: RunFolder) -> int:
    started = time.perf_counter()
    # 1. The run that the command describes. What it leaves open is as before, if the run goes on.
    if arguments.given is not None:
        output.check_inputs([arguments.given])
    check_codes_option(arguments, output, folder.before)
    choices = choices_of(arguments, folder.before, folder.journal_path)
    bundle = options.open_bundle(options.bundle_path(arguments))

    @cache
    def open_sampler() -> Sampler:
        from latentloop.sampling.sampler import Sampler

        return Sampler(bundle, choices.device or arguments.device, choices.threads, arguments.precision)

    job = plan_sampling(arguments, bundle.manifest, open_sampler, output, choices.seed)
    fields = command_fields(arguments, job, choices)
    folder.check_same(fields)
    # 2. Nothing to do?
    finished: dict[int, int] = {}
    n = job.request.n
    if choices.shard_size is not None:
        finished = folder.finished
        if arguments.codes is not None and folder.before.get("codes") != "beside" and not arguments.codes.exists():
            finished = {}
        if len(finished) == Shards(n, choices.shard_size).count:
            return report_finished(str(output), n, Shards(n, choices.shard_size), as_json=arguments.json)
    # 3. The sampler, and what depends on it.
    sampler = open_sampler()
    run = planned_run(arguments, job, choices, sampler, goes_on=folder.goes_on)
    fields |= {"shard_size": run.shards.size}
    fields |= machine_fields(sampler, run.batch_size, is_encoded=run.format != "npz")
    folder.check_same(fields)
    if any((arguments.given, arguments.label, arguments.top_k, arguments.min_p, arguments.best)):
        from latentloop.cli.unused_options import note_unused_options

        note_unused_options(arguments, job)
    folder.begin(fields, finished, n)
    return _draw(arguments, output, folder, job, run, sampler, finished, started)


def _draw(
    arguments: argparse.Namespace,
    output: ImageOutput,
    folder: RunFolder,
    job: SampleJob,
    run: SampleRun,
    sampler: Sampler,
    finished: dict[int, int],
    started: float,
) -> int:
    """Draws the shards that are not finished, reports, and returns the exit status."""
    n, loaded, journal = run.shards.n, time.perf_counter(), folder.journal
    assert journal is not None
    drawn = _Record(listed=n <= MOST_LISTED)
    try:
        with stop_request() as stop, Bar("row") as bar:
            written = write_run(run.on(sampler, _after_row(run, bar, stop)), folder.path, journal, finished, drawn)
    finally:
        if not finished and not drawn.images:
            folder.remove_empty()
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
        self.candidates += batch.candidates
        if self.listed:
            self.seeds += batch.samples.seeds.tolist()
            self.labels += [] if batch.samples.labels is None else batch.samples.labels.tolist()
            self.confidence += [] if batch.confidence is None else batch.confidence.tolist()


def _after_row(run: SampleRun, bar: Bar, stop: StopRequest) -> Callable[[Progress], bool]:
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
