"""``latentloop complete``: keeps the first rows of images, or their upper levels, and draws the rest."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from latentloop.cli import messages, options
from latentloop.cli.image_output import ImageOutput
from latentloop.cli.interrupt import defer_stop, stop_request
from latentloop.cli.sample_job import draw_samples
from latentloop.cli.watching.watching import Watching, add_watching
from latentloop.errors import plural

if TYPE_CHECKING:
    from latentloop.cli.completion import Completion
    from latentloop.sampling.results import Samples
    from latentloop.sampling.sampler import Sampler

DEFAULT_DRAWS = 4

HELP = "keep a part of images, and draw the rest"
EPILOG = """examples:
  latentloop complete photo.png --resize --rows 0.5 --out completed.png
  latentloop complete photos/ --resize --rows 0.25 -n 8 --seed 1 --out completed/
  latentloop complete photos/ --resize --rows top=1 --out variations.png
  latentloop complete photo.png --resize --first-codes top=20,bottom=64 --out completed.png

Completion, --rows 0.5: all levels keep the codes of the upper half of the image, and what is below is drawn to fit.
Variation, --rows top=1: the whole top level is kept, and all codes below it are drawn: the same arrangement and large
shapes, other details. --rows top=0.5 keeps the arrangement of the upper half only.
Codes of a level depend on those of the levels above at the same place, and priors draw rows from the top down. So a
level can only keep its first rows, and none where the level above is drawn.
In the grid each image has a row: the image; what is kept of it, as squares where only upper levels are, grey where
nothing is; and its draws, of the same seeds for every image.
The classes are those of --label, else of the names of the images' folders or of IDX files, else the classifier's.
Ctrl-C writes the images that are finished.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    options.add_images(parser)
    options.add_bundle(parser)
    options.add_unfit_images(parser)
    group = parser.add_argument_group("what to keep and to draw")
    kept = group.add_mutually_exclusive_group(required=True)
    kept.add_argument(
        "--rows",
        type=options.setting,
        metavar="X",
        help="the share of the height to keep, 0 to 1, in whole rows of the top level's codes; or shares of the rows "
        "of each level, 0 for the others: top=1,bottom=0.25",
    )
    kept.add_argument(
        "--first-codes", type=options.setting, metavar="top=N,…", help="codes of each level to keep, in raster order"
    )
    group.add_argument(
        "-n",
        "--count",
        type=options.positive,
        default=DEFAULT_DRAWS,
        metavar="N",
        help=f"draws of each image (default: {DEFAULT_DRAWS})",
    )
    group.add_argument(
        "--label",
        action="append",
        metavar="A,B",
        help="class by name or number, of all images or of each in their order; may be repeated",
    )
    group.add_argument(
        "--seed", type=int, metavar="N", help="of each image's first draw, the next has N + 1 (default: fresh)"
    )
    options.add_settings(group)
    output = parser.add_argument_group("output")
    output.add_argument(
        "--out",
        required=True,
        metavar="PATH",
        help="a grid (.png, .jpg or .webp), or, if the name ends in /, a folder with an image per draw",
    )
    options.add_scale(output)
    add_watching(parser)
    running = options.add_running(parser)
    options.add_precision(running)
    options.add_batch_size(running)
    parser.set_defaults(columns=None)


def run(arguments: argparse.Namespace) -> int:
    """Completes images, writes the results, and returns the exit status. Raises LatentLoopError."""
    started = time.perf_counter()
    # 1. Check the output, then the images and the request.
    output = ImageOutput.required(arguments)
    watching = Watching.required(arguments, output)
    if output.folder:
        from latentloop.images.writing import check_folder

        check_folder(output.path, force=output.force)  # no earlier run goes on in it
    options.check_no_bundle(arguments.images, arguments)
    sampler = options.open_sampler(arguments)
    from latentloop.cli.completion import plan_completion
    from latentloop.cli.unused_options import note_unused_options

    completion = plan_completion(arguments, sampler, output)
    note_unused_options(arguments, completion.job)
    watching.begin(sampler, completion.job, completion.cells, completion.job.columns)
    # 2. Draw, and write the finished images.
    loaded = time.perf_counter()
    with stop_request() as stop:
        samples, _ = draw_samples(sampler, completion.job, stop, watching.after_row, shows_bar=watching.screen is None)
        watching.finish(len(samples.images))
    seconds = time.perf_counter() - loaded
    if len(samples.images):
        with defer_stop(stop):
            completion.write(samples, watching)
    # 3. Report.
    _report(arguments, sampler, completion, samples, (loaded - started, seconds))
    return messages.exit_status(stop, messages.finished(len(samples.images), completion.job.request.n))


def _report(
    arguments: argparse.Namespace,
    sampler: Sampler,
    completion: Completion,
    samples: Samples,
    times: tuple[float, float],
) -> None:
    """Prints what was drawn. ``times`` are the seconds before the draw, and those of the draw."""
    from latentloop.cli.slower import slower_because

    job, draws, done = completion.job, completion.draws, len(samples.images)
    load_seconds, seconds = times
    manifest, labels = job.request.manifest, job.request.labels
    slower = slower_because(sampler.device, arguments.device, sampler.device_reason)
    summary = {
        "file": str(job.output) if done else None,
        "animation": str(job.output.animation) if job.output.animation and done else None,
        "bundle": sampler.bundle.location,
        "images": [str(file) for file in completion.files],
        "skipped": completion.inputs.skipped_as_json(),
        "kept_codes": completion.counts,
        "labels": None if labels is None else [manifest.classes[label] for label in labels[::draws]],
        "labels_from": completion.labels_from,
        "draws": draws,
        "seeds": job.request.seeds[:draws].tolist(),
        "completions": done,
        "seconds": seconds,
        "images_per_second": done / seconds,
        "load_seconds": load_seconds,
        "device": sampler.device,
        "device_reason": sampler.device_reason,
        "slower_because": slower,
        "threads": sampler.threads,
        "precision": sampler.precision,
        "cancelled": samples.cancelled,
    }
    seeds = f"seeds {job.seed} to {job.seed + draws - 1}" if draws > 1 else f"seed {job.seed}"
    count = len(completion.files)
    of = f"{count} {plural(count, 'image')}"
    if done < count * draws:  # interrupted: the last image may have only some
        of = f"{-(-done // draws)} of {of}"
    line = (
        f"{job.output}: {done} {plural(done, 'completion')} of {of} in "
        f"{seconds:.2f} s ({done / seconds:.1f} per second) on {sampler.device}, {seeds}; kept: {completion.kept()}"
    )
    if slower:
        line += f"; slower than possible here: {'; '.join(slower)}"
    messages.print_result(summary, line if done else "", as_json=arguments.json)
