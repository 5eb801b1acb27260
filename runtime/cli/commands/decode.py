"""``latentloop decode``: decodes codes to images."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from latentloop.cli import messages, options, progress
from latentloop.cli.image_output import ImageOutput, file_names
from latentloop.cli.interrupt import defer_stop, stop_request

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
    from latentloop.cli.given_codes import checked_codes
    from latentloop.io.codes_file import open_codes

    output.check_inputs([arguments.codes])
    options.check_no_bundle([arguments.codes], arguments)
    sampler = options.open_sampler(arguments)
    manifest = sampler.bundle.manifest
    file = open_codes(arguments.codes)
    codes = checked_codes(file, file.levels, manifest, partial=False)
    n = len(codes[manifest.levels[0].name])
    labels, seeds = file.labels(n, manifest.classes), file.seeds(n)
    if unknown_origin := file.check_origin(manifest.origin(), file.levels):
        messages.note(unknown_origin)
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
    summary = {
        "file": str(output) if done else None,
        "images": done,
        "seeds": seeds,
        "labels": labels,
        "seconds": seconds,
        "cancelled": stop.is_set(),
    }
    line = f"{output}: {done} {messages.plural(done, 'image')}" if done else ""
    messages.print_result(summary, line, as_json=arguments.json)
    return messages.exit_status(stop, messages.finished(done, n))
