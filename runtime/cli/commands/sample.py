"""``latentloop sample``: samples images from the priors."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentloop.cli import messages, options
from latentloop.cli.image_output import ImageOutput
from latentloop.cli.interrupt import defer_stop, stop_request
from latentloop.cli.sample_job import DEFAULT_COUNT, SampleJob, draw_samples, plan_sampling
from latentloop.cli.watching.watching import Watching, add_watching
from latentloop.errors import InputError, OutputError, plural

if TYPE_CHECKING:
    from latentloop.bulk.shards import RunPart
    from latentloop.sampling.results import Samples

HELP = "sample images from the priors"
EPILOG = """examples:
  latentloop sample --out samples.png
  latentloop sample --per-class 8 --temperature 0.9 --seed 1 --out classes.png
  latentloop sample my-bundle --label coat,bag -n 100 --out coats-and-bags/
  latentloop sample --per-class 8 --best 0.25 --seed 1 --out best.png
  latentloop sample --animate drawn.webp --show --out samples.png
  latentloop sample --given photo.png --resize --keep top --out variations.png
  latentloop encode photo.png --resize --out photo.npz && latentloop sample --given photo.npz --keep top --out more.png
  latentloop sample -n 50000 --seed 1 --format npz --out samples/
  latentloop sample -n 50000 --seed 1 --shard $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT \
      --out part-$SLURM_ARRAY_TASK_ID/    # in a job with --array=0-63; then: latentloop merge part-*/ --out samples/

Labels for --given are those of --label, else of the file or the names of the images' folders, else those that the
bundle's classifier gives to the codes.
Ctrl-C writes the batches that are finished. In a folder the same command goes on where an earlier run stopped, however
that ended. The same seed, label, settings, precision, batch size, threads and
processor give the same image.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    options.add_bundle(parser, argument=True)
    group = parser.add_argument_group("what to sample")
    count = group.add_mutually_exclusive_group()
    count.add_argument(
        "-n", "--count", type=options.positive, metavar="N", help=f"images in all (default: {DEFAULT_COUNT})"
    )
    count.add_argument("--per-class", type=options.positive, metavar="K", help="images of each class, a class per row")
    group.add_argument(
        "--label",
        action="append",
        metavar="A,B",
        help="classes by name or number, used in turn; may be repeated (default: all)",
    )
    group.add_argument("--seed", type=int, metavar="N", help="of the first image, the next has N + 1 (default: fresh)")
    options.add_settings(group)
    group.add_argument(
        "--given",
        type=Path,
        metavar="PATH",
        help="codes to keep: a file of codes (.npz, as `encode` writes; -1 where to draw), or an image, an IDX file or "
        "a folder of images, which are encoded",
    )
    options.add_unfit_images(group)
    group.add_argument(
        "--best",
        type=options.fraction,
        metavar="FRACTION",
        help="draw more images, and keep of each class this share, by the probability that the bundle's classifier "
        "gives to the class; in a folder among the candidates for each shard",
    )
    group.add_argument("--keep", metavar="A,B", help="levels to keep of --given (default: all that it holds)")
    output = options.add_output(parser, required=True)
    output.add_argument(
        "--codes",
        type=Path,
        metavar="PATH",
        help="also write codes, seeds and labels: to a file (.npz), or with the folder of --out beside its images",
    )
    options.add_shards(output)
    where = output.add_mutually_exclusive_group()
    where.add_argument(
        "--shard",
        type=run_part,
        metavar="I/N",
        help="write only part I of N of a run that N processes write, each into a folder of its own; I counts from 0 "
        "to N - 1; needs --seed; `latentloop merge` joins the parts",
    )
    where.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="draw the shards of a folder on the Ray cluster at ADDRESS (auto, local, host:port or ray://host:port); "
        "they are written here; the bundle has the same path on all machines, or an address",
    )
    add_watching(parser)
    running = options.add_running(parser)
    options.add_precision(running)
    options.add_batch_size(running)


def run_part(text: str) -> RunPart:
    """Returns the part of a run that ``text`` names (a ``type`` of argparse)."""
    from latentloop.bulk.shards import RunPart

    try:
        return RunPart.parse(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def run(arguments: argparse.Namespace) -> int:
    """Draws samples, writes them, and returns the exit status. Raises LatentLoopError."""
    started = time.perf_counter()
    # 1. Check the outputs, then the request.
    output = ImageOutput.required(arguments)
    watching = Watching.required(arguments, output)
    if output.folder:
        from latentloop.cli.folders.sampling import sample_to_folder

        return sample_to_folder(arguments, output)
    if arguments.codes:
        _check_codes_output(arguments.codes, output)
    sampler = options.open_sampler(arguments)
    job = plan_sampling(arguments, sampler.bundle.manifest, lambda: sampler, output)
    if any(
        (arguments.given, arguments.label, arguments.top_k, arguments.min_p, arguments.best)
    ):  # others always have an effect
        from latentloop.cli.unused_options import note_unused_options

        note_unused_options(arguments, job)
    watching.begin(sampler, job, job.request.n, job.columns)
    # 2. Sample.
    loaded = time.perf_counter()
    with stop_request() as stop:
        samples, selection = draw_samples(sampler, job, stop, watching.after_row, shows_bar=watching.screen is None)
        watching.finish(len(samples.images))
    sampled = time.perf_counter()
    # 3. Write the finished images.
    done = len(samples.images)
    labels = [] if samples.labels is None else [sampler.bundle.manifest.classes[label] for label in samples.labels]
    if done:
        with defer_stop(stop):
            _write(job, samples, labels, watching)
    # 4. Report.
    from latentloop.cli.slower import slower_because

    seconds = sampled - loaded
    slower = slower_because(sampler.device, arguments.device, sampler.device_reason)
    summary = {
        "file": str(output) if done else None,
        "codes": str(job.codes) if job.codes and done else None,
        "animation": str(output.animation) if output.animation and done else None,
        "bundle": sampler.bundle.location,
        "images": done,
        "seeds": samples.seeds.tolist(),
        "labels": labels or None,
        "candidates": selection.candidates if selection else None,
        "confidence": selection.confidence.tolist() if selection else None,
        "seconds": seconds,
        "images_per_second": done / seconds,
        "load_seconds": loaded - started,
        "write_seconds": time.perf_counter() - sampled,
        "device": sampler.device,
        "device_reason": sampler.device_reason,
        "slower_because": slower,
        "threads": sampler.threads,
        "precision": sampler.precision,
        "cancelled": samples.cancelled,
    }
    last_seed = job.seed + (selection.candidates if selection else done) - 1
    seeds = f"seeds {job.seed} to {last_seed}" if last_seed > job.seed else f"seed {job.seed}"
    line = (
        f"{output}: {done} {plural(done, 'image')} in {seconds:.2f} s ({done / seconds:.1f} per second) on "
        f"{sampler.device}, {f'the best of {selection.candidates} with ' if selection else ''}{seeds}"
    )
    if slower:
        line += f"; slower than possible here: {'; '.join(slower)}"
    messages.print_result(summary, line if done else "", as_json=arguments.json)
    return messages.exit_status(stop, messages.finished(done, job.request.n))


def _check_codes_output(path: Path, output: ImageOutput) -> None:
    """Raises InputError or OutputError if the codes cannot be written, or collide with the images."""
    from latentloop.io.codes_file import check_codes_path

    check_codes_path(path, force=output.force)
    images, codes = output.path.resolve(), path.resolve()
    if images in (codes, *codes.parents):
        raise InputError(f"--codes {path} is or is below --out {output}, which is a file: move it")
    if codes in images.parents:
        raise InputError(f"--out {output} is below --codes {path}, which is a file: move it")


def _write(job: SampleJob, samples: Samples, labels: list[str], watching: Watching) -> None:
    """Writes images, codes and the animation; if one fails, still writes the others. ``labels`` are class names, empty
    without classes.

    Raises OutputError.
    """
    from latentloop.io.codes_file import write_codes
    from latentloop.io.files import write_each

    manifest, output, path = job.request.manifest, job.output, job.codes
    done = len(samples.images)
    writes: dict[str, Callable[[], object]] = {str(output): lambda: output.write(samples.images, job.columns)}
    if path:
        per_image: dict[str, Any] = {"seeds": samples.seeds, **({"labels": samples.labels} if labels else {})}
        writes[str(path)] = lambda: write_codes(
            path,
            samples.codes,
            per_image,
            origin=manifest.origin(),
            classes=manifest.classes,
            settings=job.recorded(),
            earlier_origins=job.given.origins(done) if job.given else None,
            force=output.force,
        )
    writes |= watching.writes(samples.images, lambda images: output.grid(images, job.columns))
    try:
        write_each(writes)
    except OutputError as error:
        raise OutputError(f"{error}{job.remedy}") from error
