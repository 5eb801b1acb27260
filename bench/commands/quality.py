"""Sub-commands that measure quality: quality, samples."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from latentloop.bench.commands.output import SubCommand, add_common, finish
from latentloop.cli.options import add_bundle, positive, setting
from latentloop.errors import InputError

HELD_OUT_IMAGES = 1000


def _quality(arguments: argparse.Namespace) -> int:
    from latentloop.bench.quality import int8_cost
    from latentloop.cli.options import open_selected
    from latentloop.environment.machine import available_threads

    if arguments.own_samples and arguments.images:
        raise InputError("--images limits the images of --data; --own-samples N already sets the number: omit --images")
    bundle, threads = open_selected(arguments), arguments.threads or available_threads()
    count = arguments.own_samples or arguments.images or HELD_OUT_IMAGES
    return finish(
        arguments,
        lambda: int8_cost.measure(bundle, arguments.data, count, arguments.rows, threads),
        int8_cost.table,
    )


def _samples(arguments: argparse.Namespace) -> int:
    from latentloop.bench.quality import sample_report, samples
    from latentloop.cli.options import open_selected
    from latentloop.environment.machine import available_threads
    from latentloop.images.writing import check_image_path, write_image
    from latentloop.io.files import check_free

    if arguments.picture:
        check_image_path(arguments.picture)
        check_free(arguments.picture, force=arguments.force)
    bundle, threads = open_selected(arguments), arguments.threads or available_threads()

    pictures = []

    def measure() -> dict[str, Any]:
        result, picture = samples.measure(
            bundle, arguments.data, arguments.samples, arguments.seed, arguments.temperature, threads
        )
        pictures.append(picture)
        return result

    other_files = {}
    if arguments.picture:
        other_files[str(arguments.picture)] = lambda: write_image(arguments.picture, pictures[0], force=arguments.force)
    return finish(arguments, measure, sample_report.table, other_files)


def _add_quality(parser: argparse.ArgumentParser) -> None:
    add_bundle(parser)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, metavar="FOLDER", help="data set whose held-out images are encoded")
    source.add_argument("--own-samples", type=positive, metavar="N", help="use N samples of the model instead of data")
    parser.add_argument(
        "--images", type=positive, metavar="N", help=f"at most N held-out images (default: {HELD_OUT_IMAGES})"
    )
    parser.add_argument("--rows", type=positive, metavar="N", help="only the first N rows of each level (default: all)")
    add_common(parser)


def _add_samples(parser: argparse.ArgumentParser) -> None:
    add_bundle(parser)
    parser.add_argument(
        "--data", type=Path, required=True, metavar="FOLDER", help="data set that the bundle was trained on"
    )
    parser.add_argument(
        "--samples",
        type=positive,
        default=2000,
        metavar="N",
        help="number of samples, and of held-out and training images each; fewer if the data has fewer (default: 2000)",
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="seed of the first sample (default: 1)")
    parser.add_argument(
        "--temperature",
        type=setting,
        default=1.0,
        metavar="X",
        help="temperature; also by level: top=X,bottom=Y",
    )
    add_common(parser)
    parser.add_argument(
        "--picture", type=Path, metavar="PNG", help="also write a picture of samples and their nearest training images"
    )


QUALITY = (
    SubCommand(
        "quality", "bits per code with int8 weights and with float32, on the same codes", _add_quality, _quality
    ),
    SubCommand("samples", "quality and novelty of samples, against held-out images", _add_samples, _samples),
)
