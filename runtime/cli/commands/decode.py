"""``latentloop decode``: images of codes."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from latentloop.cli import options, progress
from latentloop.cli.interrupt import finishing, interruptible
from latentloop.errors import InputError

HELP = "decode codes (.npz) to images"
EPILOG = """examples:
  latentloop decode codes.npz --out decoded.png
  latentloop decode codes.npz --out decoded/

In a folder, images are named by the file's labels and seeds, where it has some. Ctrl-C writes those that are finished.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("codes", type=Path, metavar="FILE", help="codes as `encode` and `sample --codes` write (.npz)")
    options.add_bundle(parser)
    options.add_output(parser, required=True)
    options.add_running(parser)


def run(arguments: argparse.Namespace) -> int:
    """Decodes and writes; returns the exit status. Raises LatentLoopError."""
    output = options.Output.of(arguments)
    from latentloop.io.codes_file import open_codes
    from latentloop.sampling.validation import check_codes

    output.check_inputs([arguments.codes])
    sampler = options.open_sampler(arguments)
    manifest = sampler.bundle.manifest
    file = open_codes(arguments.codes)
    another = file.other_bundle(manifest.digest(), file.levels)
    try:
        codes = check_codes(file.levels, manifest.levels, partial=False)
    except InputError as error:
        raise InputError(f"{file.path}: {error}{' (made with another bundle)' if another else ''}") from error
    n = len(codes[manifest.levels[0].name])
    if n == 0:
        raise InputError(f"{file.path} holds codes of no image, expected at least one")
    labels, seeds = file.labels(n, manifest.classes), file.seeds(n)
    if another:
        options.note(another)
    output.check_size(n, manifest.image)
    started = time.perf_counter()
    with interruptible() as asked:
        images = progress.decode(sampler, codes, asked)
    seconds = time.perf_counter() - started
    done = len(images)
    labels, seeds = labels and labels[:done], seeds and seeds[:done]
    if done:
        with finishing(asked):
            output.write(images, options.file_names(done, labels, seeds))
    if arguments.json:
        options.print_json(
            {
                "file": str(output) if done else None,
                "images": done,
                "seeds": seeds,
                "labels": labels,
                "seconds": seconds,
                "cancelled": asked.is_set(),
            }
        )
    elif done:
        print(f"{output}: {done} {options.plural(done, 'image')}")
    if asked.is_set():
        options.note_interrupted(done, n)
        return asked.status
    return 0
