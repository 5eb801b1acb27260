"""``latentloop encode``: codes of images."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from latentloop import options, progress

HELP = "encode images to codes (.npz)"
EPILOG = """examples:
  latentloop encode a.png b.png --out codes.npz
  latentloop encode photos/ --resize --out codes.npz

The file holds one array of integers [N, h, w] per level, and `files`, the images' paths [N].
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image files, or folders of them")
    options.add_bundle(parser)
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="the codes (.npz)")
    options.add_resize(parser)
    options.add_running(parser)


def run(arguments: argparse.Namespace) -> int:
    """Encodes and writes; returns the exit status. Raises LatentLoopError."""
    from latentloop.codes import check_codes_path, write_codes
    from latentloop.images import find_images, read_images

    check_codes_path(arguments.out, force=arguments.force)
    files = find_images(arguments.images)
    sampler = options.open_sampler(arguments)
    images = read_images(files, sampler.bundle.manifest.image, resize=arguments.resize)
    started = time.perf_counter()
    codes = progress.encode(sampler, images)
    seconds = time.perf_counter() - started
    names = [str(file) for file in files]
    write_codes(arguments.out, codes, {"files": names}, force=arguments.force)
    if arguments.json:
        levels = {name: list(values.shape[1:]) for name, values in codes.items()}
        options.print_json({"file": str(arguments.out), "images": names, "levels": levels, "seconds": seconds})
    else:
        levels_shown = ", ".join(f"{name} {v.shape[1]} x {v.shape[2]}" for name, v in codes.items())
        print(f"{arguments.out}: codes of {len(files)} {options.plural(len(files), 'image')} ({levels_shown})")
    return 0
