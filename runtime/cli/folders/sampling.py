"""``latentloop sample`` into a folder: a run in shards, which goes on where an earlier process stopped."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from latentloop.bulk.machine import Machine
from latentloop.bulk.sample_run import DrawnList, SampleRun
from latentloop.bulk.shards import WHOLE, RunPart, Shards
from latentloop.cli import messages, options
from latentloop.cli.folders.choices import Choices, choices_of
from latentloop.cli.folders.making import LocalMaker, Maker
from latentloop.cli.folders.opening import MOST_LISTED, RunFolder, already_there, open_run_folder
from latentloop.cli.folders.sample_settings import check_codes_option, command_fields, planned_run
from latentloop.cli.image_output import ImageOutput
from latentloop.cli.interrupt import stop_request
from latentloop.cli.sample_job import SampleJob, plan_sampling
from latentloop.errors import InputError, plural

if TYPE_CHECKING:
    from collections.abc import Callable

    from latentloop.bundles.bundle import Bundle
    from latentloop.sampling.sampler import Sampler


def sample_to_folder(arguments: argparse.Namespace, output: ImageOutput) -> int:
    """Draws the samples that the folder lacks, and returns the exit status. Raises LatentLoopError."""
    if arguments.shard is not None and arguments.seed is None:
        raise InputError(
            f"--shard {arguments.shard} needs --seed, the same for every part: each would choose another one"
        )
    with open_run_folder(output.path, force=output.force) as folder:
        return _sample(arguments, output, folder)


def _sample(arguments: argparse.Namespace, output: ImageOutput, folder: RunFolder) -> int:
    started = time.perf_counter()
    # 1. The run that the command describes. What it leaves open is as before, if the run goes on.
    if arguments.given is not None:
        output.check_inputs([arguments.given])
    check_codes_option(arguments, output, folder.before)
    choices = choices_of(arguments, folder.before, folder.journal_path)
    bundle = options.open_selected(arguments)

    @cache
    def open_sampler() -> Sampler:
        from latentloop.sampling.sampler import Sampler

        device = (choices.device or arguments.device) if arguments.ray is None else "cpu"
        return Sampler(bundle, device, choices.threads, arguments.precision)

    job = plan_sampling(arguments, bundle.manifest, open_sampler, output, choices.seed)
    fields = command_fields(arguments, job, choices)
    folder.check_same(fields)
    # 2. Nothing to do?
    finished: dict[int, int] = {}
    n, part = job.request.n, arguments.shard or WHOLE
    if choices.shard_size is not None:
        finished = folder.finished
        if arguments.codes is not None and folder.before.get("codes") != "beside" and not arguments.codes.exists():
            finished = {}
        shards = Shards(n, choices.shard_size)
        if folder.goes_on and len(finished) == len(part.numbers(shards)):
            run = planned_run(arguments, job, choices, bundle, choices.batch_size or 1, goes_on=True)
            task = _Task(arguments, output, folder, bundle, job, choices, run, part, finished, started)
            _report(task, None, DrawnList(listed=False), 0, time.perf_counter())
            return 0
    # 3. What draws the samples, and what depends on it.
    with _maker(arguments, bundle, choices, open_sampler) as maker:
        run = planned_run(arguments, job, choices, bundle, maker.machine.default_batch_size, goes_on=folder.goes_on)
        fields |= {"shard_size": run.shards.size}
        fields |= {**maker.machine.fields, "batch_size": run.batch_size}
        folder.check_same(fields)
        maker.check(run)
        if any((arguments.given, arguments.label, arguments.top_k, arguments.min_p, arguments.best)):
            from latentloop.cli.unused_options import note_unused_options

            note_unused_options(arguments, job)
        folder.begin(fields, finished, part.images(run.shards))
        return _draw(_Task(arguments, output, folder, bundle, job, choices, run, part, finished, started), maker)


@contextmanager
def _maker(
    arguments: argparse.Namespace, bundle: Bundle, choices: Choices, open_sampler: Callable[[], Sampler]
) -> Iterator[Maker]:
    """Yields what draws the samples. Raises LatentLoopError."""
    is_encoded = arguments.format != "npz"
    if arguments.ray is None:
        yield LocalMaker(open_sampler(), is_encoded=is_encoded)
        return
    from latentloop.cli.folders.making_on_ray import ray_maker

    source, device = options.bundle_path(arguments), choices.device or arguments.device
    with ray_maker(
        arguments.ray, bundle, source, device, choices.threads, arguments.precision, is_encoded=is_encoded
    ) as maker:
        yield maker


@dataclass(frozen=True, eq=False)
class _Task:
    """The ``part`` of a run to draw into a folder; ``finished``, the images by shard that are there already."""

    arguments: argparse.Namespace
    output: ImageOutput
    folder: RunFolder
    bundle: Bundle
    job: SampleJob
    choices: Choices
    run: SampleRun
    part: RunPart
    finished: dict[int, int]
    started: float


def _draw(task: _Task, maker: Maker) -> int:
    """Draws the shards that are not finished, reports, and returns the exit status."""
    loaded, run, finished, journal = time.perf_counter(), task.run, task.finished, task.folder.journal
    assert journal is not None
    n, numbers = task.part.images(run.shards), task.part.numbers(run.shards)
    drawn = DrawnList(listed=n <= MOST_LISTED)
    missing = [number for number in numbers if number not in finished]
    try:
        with stop_request() as stop:
            written = maker.write(run, task.folder.path, journal, missing, drawn, stop)
    finally:
        if numbers:
            task.folder.remove_empty()
    _report(task, maker.machine, drawn, written, loaded)
    done = written + sum(finished.values())
    go_on = "; the same command goes on" if 0 < done < n else ""
    return messages.exit_status(stop, messages.finished(done, n) + go_on)


def _report(task: _Task, machine: Machine | None, drawn: DrawnList, written: int, loaded: float) -> None:
    """Prints what was ``drawn``, of which ``written`` images are in place, since the sampler was ``loaded``.

    ``machine`` is None if all images were there already.
    """
    arguments, output, job, run, finished = task.arguments, task.output, task.job, task.run, task.finished
    n, numbers = task.part.images(run.shards), task.part.numbers(run.shards)
    seconds, done = time.perf_counter() - loaded, written + sum(finished.values())
    recorded = task.choices
    device, threads = (machine.device, machine.threads) if machine else (recorded.device, recorded.threads)
    slower: list[str] = []
    if machine and not arguments.ray:
        from latentloop.cli.slower import slower_because

        slower = slower_because(machine.device, arguments.device, machine.device_reason)
    beside = run.codes is not None and run.codes.file is None
    summary = {
        "file": str(output) if done or not numbers else None,
        "format": run.format,
        "codes": (str(output) if beside else str(arguments.codes)) if arguments.codes and done else None,
        "bundle": task.bundle.location,
        "images": done,
        "images_before": sum(finished.values()),
        "part": None if arguments.shard is None else str(task.part),
        "shards": len(numbers),
        "shard_size": run.shards.size,
        "batch_size": run.batch_size,
        "seed": job.seed,
        "seeds": drawn.seeds if drawn.listed and not finished else None,
        "labels": [job.request.manifest.classes[label] for label in drawn.labels]
        if drawn.listed and drawn.labels and not finished
        else None,
        "candidates": drawn.candidates if run.best is not None and machine else None,
        "confidence": drawn.confidence if run.best is not None and drawn.listed and not finished else None,
        "seconds": seconds,
        "images_per_second": written / seconds if machine else None,
        "load_seconds": loaded - task.started,
        "device": device,
        "device_reason": machine.device_reason if machine else None,
        "slower_because": slower,
        "threads": threads,
        "precision": arguments.precision,
        "cancelled": done < n,
    }
    first_seed = job.seed + int(run.candidates_before[numbers.start])
    last_seed = first_seed + (drawn.candidates if run.best is not None else done) - 1
    seeds = f"seeds {first_seed} to {last_seed}" if last_seed > first_seed else f"seed {first_seed}"
    best = f"the best of {drawn.candidates} with " if run.best is not None else ""
    now = f", {written} of them now," if finished else ""
    place = f"{device} (Ray)" if arguments.ray else device
    line = (
        f"{output}: {done} {plural(done, 'image')}{now} in {seconds:.2f} s "
        f"({written / seconds:.1f} per second) on {place}, {best}{seeds}"
    )
    if slower:
        line += f"; slower than possible here: {'; '.join(slower)}"
    if machine is None:
        line = already_there(str(output), n)
    if not numbers:
        line = f"{output}: part {task.part} has none of the run's {run.shards.count} shards: nothing to draw"
    messages.print_result(summary, line if done or not numbers else "", as_json=arguments.json)
