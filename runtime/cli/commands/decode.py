"""``latentloop decode``: decodes codes to images."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from latentloop.cli import messages, options, progress
from latentloop.cli.image_output import ImageOutput
from latentloop.cli.interrupt import defer_stop, stop_request
from latentloop.errors import plural

HELP = "decode codes to images"
EPILOG = """examples:
  latentloop decode codes.npz --out decoded.png
  latentloop decode codes.npz --out decoded/
  latentloop decode samples/ --format npz --out decoded/

In a folder, the images' names contain the labels and seeds that the file holds. A folder of codes means its files
codes-*.npz. Ctrl-C writes the finished images; in a folder the same command then goes on.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument(
        "codes",
        nargs="+",
        type=Path,
        metavar="CODES",
        help="codes as `encode` and `sample --codes` write: files (.npz), or folders of them",
    )
    options.add_bundle(parser)
    options.add_shards(options.add_output(parser, required=True))
    options.add_running(parser)


def run(arguments: argparse.Namespace) -> int:
    """Decodes codes, writes the images, and returns the exit status. Raises LatentLoopError."""
    # 1. Check the output, then the codes.
    output = ImageOutput.required(arguments)
    output.check_inputs(arguments.codes)
    options.check_no_bundle(arguments.codes, arguments)
    if output.folder:
        from latentloop.cli.folders.decoding import decode_to_folder

        return decode_to_folder(arguments, output)
    from latentloop.cli.codes_inputs import CodesInputs

    sampler = options.open_sampler(arguments)
    manifest = sampler.bundle.manifest
    codes = CodesInputs.check(arguments.codes, manifest).all()
    n = len(codes)
    output.check_size(n, manifest.image)
    # 2. Decode.
    started = time.perf_counter()
    with stop_request() as stop:
        images = progress.decode(sampler, codes.codes, stop)
    seconds = time.perf_counter() - started
    # 3. Write the finished images.
    done = len(images)
    if done:
        with defer_stop(stop):
            output.write(images)
    # 4. Report.
    finished = codes.take(slice(0, done))
    summary = {
        "file": str(output) if done else None,
        "images": done,
        "seeds": finished.seeds,
        "labels": finished.labels,
        "seconds": seconds,
        "cancelled": stop.is_set(),
    }
    line = f"{output}: {done} {plural(done, 'image')}" if done else ""
    messages.print_result(summary, line, as_json=arguments.json)
    return messages.exit_status(stop, messages.finished(done, n))
