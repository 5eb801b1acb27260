"""``latentloop decode``: images of codes."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from latentloop import options, progress
from latentloop.errors import InputError

HELP = "decode codes (.npz) to images"
EPILOG = """examples:
  latentloop decode codes.npz --out decoded.png
  latentloop decode codes.npz --out decoded/
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
    from latentloop.codes import read_codes
    from latentloop.request import check_codes

    sampler = options.open_sampler(arguments)
    manifest = sampler.bundle.manifest
    arrays = read_codes(arguments.codes)
    try:
        codes = check_codes(arrays, manifest.levels, partial=False)
    except InputError as error:
        raise InputError(f"{arguments.codes}: {error}") from error
    n = len(codes[manifest.levels[0].name])
    if n == 0:
        raise InputError(f"{arguments.codes} holds codes of no image, expected at least one")
    output.check_size(n, manifest.image)
    started = time.perf_counter()
    images = progress.decode(sampler, codes)
    seconds = time.perf_counter() - started
    output.write(images, [f"{index:05}.png" for index in range(n)])
    if arguments.json:
        options.print_json({"file": str(output), "images": n, "seconds": seconds})
    else:
        print(f"{output}: {n} {options.plural(n, 'image')}")
    return 0
