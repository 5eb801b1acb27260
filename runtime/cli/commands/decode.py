"""``latentloop decode``: decodes codes to images."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from latentloop.cli import messages, options, progress
from latentloop.cli.image_output import ImageOutput, file_names
from latentloop.cli.interrupt import defer_stop, stop_request
from latentloop.errors import InputError

HELP = "decode codes (.npz) to images"
EPILOG = """examples:
  latentloop decode codes.npz --out decoded.png
  latentloop decode codes.npz --out decoded/

In a folder, the images' names contain the labels and seeds that the file holds. Ctrl-C writes the finished images.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("codes", type=Path, metavar="FILE", help="codes as `encode` and `sample --codes` write (.npz)")
    options.add_bundle(parser)
    options.add_output(parser, required=True)
    options.add_running(parser)


def run(arguments: argparse.Namespace) -> int:
    """Decodes codes, writes the images, and returns the exit status. Raises LatentLoopError."""
    # 1. Check the output, then the codes.
    output = ImageOutput.required(arguments)
    from latentloop.io.codes_file import open_codes
    from latentloop.sampling.validation import check_codes

    output.check_inputs([arguments.codes])
    sampler = options.open_sampler(arguments)
    manifest = sampler.bundle.manifest
    file = open_codes(arguments.codes)
    other_bundle = file.other_bundle(manifest.digest(), file.levels)
    try:
        codes = check_codes(file.levels, manifest.levels, partial=False)
    except InputError as error:
        raise InputError(f"{file.path}: {error}{' (made with another bundle)' if other_bundle else ''}") from error
    n = len(codes[manifest.levels[0].name])
    if n == 0:
        raise InputError(f"{file.path} holds codes of no image, expected at least one")
    labels, seeds = file.labels(n, manifest.classes), file.seeds(n)
    if other_bundle:
        messages.note(other_bundle)
    output.check_size(n, manifest.image)
    # 2. Decode.
    started = time.perf_counter()
    with stop_request() as stop:
        images = progress.decode(sampler, codes, stop)
    seconds = time.perf_counter() - started
    # 3. Write the finished images.
    done = len(images)
    labels, seeds = labels and labels[:done], seeds and seeds[:done]
    if done:
        with defer_stop(stop):
            output.write(images, file_names(done, labels, seeds))
    # 4. Report.
    if arguments.json:
        messages.print_json(
            {
                "file": str(output) if done else None,
                "images": done,
                "seeds": seeds,
                "labels": labels,
                "seconds": seconds,
                "cancelled": stop.is_set(),
            }
        )
    elif done:
        print(f"{output}: {done} {messages.plural(done, 'image')}")
    if stop.is_set():
        messages.note_interrupted(done, n)
        return stop.exit_status
    return 0
