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

In a folder, images are named by the file's labels and seeds, where it has some.
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
    from latentloop.codes import bundle_digest, open_codes
    from latentloop.request import check_codes

    sampler = options.open_sampler(arguments)
    manifest = sampler.bundle.manifest
    file = open_codes(arguments.codes)
    another = file.bundle not in ("", bundle_digest(manifest))
    try:
        codes = check_codes(file.levels, manifest.levels, partial=False)
    except InputError as error:
        raise InputError(f"{file.path}: {error}{' (made with another bundle)' if another else ''}") from error
    n = len(codes[manifest.levels[0].name])
    if n == 0:
        raise InputError(f"{file.path} holds codes of no image, expected at least one")
    labels, seeds = file.labels(n, manifest.classes), file.seeds(n)
    if another:
        options.note(f"{file.path} was made with another bundle, whose codes may mean other things")
    output.check_size(n, manifest.image)
    started = time.perf_counter()
    images = progress.decode(sampler, codes)
    seconds = time.perf_counter() - started
    output.write(images, options.file_names(n, labels, seeds))
    if arguments.json:
        options.print_json({"file": str(output), "images": n, "seeds": seeds, "labels": labels, "seconds": seconds})
    else:
        print(f"{output}: {n} {options.plural(n, 'image')}")
    return 0
