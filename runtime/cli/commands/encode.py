"""``latentloop encode``: encodes images to codes."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from latentloop.cli import messages, options
from latentloop.cli.interrupt import StopRequest, defer_stop, stop_request
from latentloop.errors import InputError, plural

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from latentloop.cli.image_inputs import ImageInputs
    from latentloop.images.problems import Source
    from latentloop.sampling.sampler import Sampler

HELP = "encode images to codes"
EPILOG = """examples:
  latentloop encode a.png b.png --out codes.npz
  latentloop encode photos/ --resize --out codes.npz
  latentloop encode photos/ --resize --skip-bad --out codes.npz
  latentloop encode photos/ --resize --out codes/

A folder means all images in it and in its sub-folders, and IDX files with MNIST's names: what `train --data` takes.
All images are checked before the first is encoded. --resize crops and resizes images, and adds a border to IDX images.
A file of codes has one array of integers [N, h, w] per level, and an array `files` [N] of the images' paths. It also
has `labels` [N] if every image has one: the name of its folder, if the bundle has a class of that name, or its IDX
label.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    options.add_images(parser)
    options.add_bundle(parser)
    parser.add_argument(
        "--out",
        required=True,
        metavar="PATH",
        help="a file of all codes (.npz), or, if the name ends in /, a folder of such files, for many images: the same "
        "command goes on after a stop",
    )
    options.add_shard_size(parser, "1024")
    options.add_unfit_images(parser)
    options.add_running(parser)


def run(arguments: argparse.Namespace) -> int:
    """Encodes images, writes their codes, and returns the exit status. Raises LatentLoopError."""
    # 1. Check the output, then the images.
    from latentloop.io.codes_file import check_codes_path, write_codes

    options.check_no_bundle(arguments.images, arguments)
    out = Path(arguments.out)
    if arguments.out.endswith("/"):
        from latentloop.cli.folders.encoding import encode_to_folder

        return encode_to_folder(arguments, out)
    if arguments.shard_size is not None:
        raise InputError(f"--shard-size applies to a folder of codes, but --out {out} is a file: end it in /")
    check_codes_path(out, force=arguments.force)
    sampler = options.open_sampler(arguments)
    from latentloop.cli.image_inputs import ImageInputs, labels_of

    inputs = ImageInputs.check(arguments, sampler.bundle.manifest.image)
    # 2. Encode.
    started = time.perf_counter()
    with stop_request() as stop:
        files, codes = _encode(sampler, inputs, stop)
    seconds = time.perf_counter() - started
    # 3. Write the codes of the finished images.
    names = [str(file) for file in files]
    classes = sampler.bundle.manifest.classes
    labels = labels_of(files, classes)
    if names:
        with defer_stop(stop):
            per_image = {"files": names} | ({} if labels is None else {"labels": labels})
            origin = sampler.bundle.manifest.origin()
            write_codes(out, codes, per_image, origin=origin, classes=classes, force=arguments.force)
    # 4. Report.
    levels = {name: list(values.shape[1:]) for name, values in codes.items()}
    summary = {
        "file": str(out) if names else None,
        "images": names,
        "labels": None if labels is None else [classes[label] for label in labels],
        "skipped": inputs.skipped_as_json(),
        "levels": levels,
        "seconds": seconds,
        "cancelled": stop.is_set(),
    }
    shapes = ", ".join(f"{name} {height} x {width}" for name, (height, width) in levels.items())
    labelled = "" if labels is None else "; with labels"
    line = f"{out}: codes of {len(files)} {plural(len(files), 'image')} ({shapes}{labelled})"
    messages.print_result(summary, line if names else "", as_json=arguments.json)
    result = f"{out} holds the codes of {len(files)}" if names else "no image was encoded"
    inputs.report_changed(result)
    return messages.exit_status(stop, f"{result} of {len(inputs.files)} images")


def _encode(
    sampler: Sampler, inputs: ImageInputs, stop: StopRequest
) -> tuple[list[Source], dict[str, NDArray[np.int64]]]:
    """Encodes until finished or requested to stop. Returns the encoded files, and their codes by level, int64
    [N, h, w].
    """
    import numpy as np

    files: list[Source] = []
    codes: dict[str, NDArray[np.int64]] = {}
    for batch, images in inputs.batches(sampler.default_batch_size, "encode", stop):
        for level, batch_codes in sampler.encode(images).items():
            if level not in codes:  # allocated once for all images: concatenation needs twice the memory
                codes[level] = np.empty((len(inputs.files), *batch_codes.shape[1:]), np.int64)
            codes[level][len(files) : len(files) + len(batch_codes)] = batch_codes
        files += batch
        stop.wait_for_results()
    return files, {level: values[: len(files)] for level, values in codes.items()}
