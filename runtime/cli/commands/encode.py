"""``latentloop encode``: codes of images."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from latentloop.cli import options
from latentloop.cli.interrupt import Request, finishing, interruptible

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from latentloop.cli.image_inputs import Inputs
    from latentloop.sampling.sampler import Sampler

HELP = "encode images to codes (.npz)"
EPILOG = """examples:
  latentloop encode a.png b.png --out codes.npz
  latentloop encode photos/ --resize --out codes.npz
  latentloop encode photos/ --resize --skip-bad --out codes.npz

A folder stands for the images in and below it. All are checked before the first is encoded.
The file holds one array of integers [N, h, w] per level, and `files`, the images' paths [N].
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image files, or folders of them")
    options.add_bundle(parser)
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="the codes (.npz)")
    options.add_resize(parser)
    options.add_skip_bad(parser)
    options.add_running(parser)


def run(arguments: argparse.Namespace) -> int:
    """Encodes and writes; returns the exit status. Raises LatentLoopError."""
    from latentloop.io.codes_file import check_codes_path, write_codes

    check_codes_path(arguments.out, force=arguments.force)
    sampler = options.open_sampler(arguments)
    from latentloop.cli.image_inputs import Inputs

    inputs = Inputs.of(arguments, sampler.bundle.manifest.image)
    started = time.perf_counter()
    files, codes, asked = _encode(sampler, inputs)
    seconds = time.perf_counter() - started
    names = [str(file) for file in files]
    levels = {name: list(values.shape[1:]) for name, values in codes.items()}
    if names:
        with finishing(asked):
            digest = sampler.bundle.manifest.digest()
            write_codes(arguments.out, codes, {"files": names}, digest=digest, force=arguments.force)
    held = f"{arguments.out} holds the codes of {len(files)}" if names else "no image was encoded"
    if arguments.json:
        options.print_json(
            {
                "file": str(arguments.out) if names else None,
                "images": names,
                "skipped": inputs.summary(),
                "levels": levels,
                "seconds": seconds,
                "cancelled": asked.is_set(),
            }
        )
    elif names:
        levels_shown = ", ".join(f"{name} {height} x {width}" for name, (height, width) in levels.items())
        print(f"{arguments.out}: codes of {len(files)} {options.plural(len(files), 'image')} ({levels_shown})")
    inputs.close(held)
    if asked.is_set():
        print(f"latentloop: interrupted, {held} of {len(inputs.files)} images", file=sys.stderr)
        return asked.status
    return 0


def _encode(sampler: Sampler, inputs: Inputs) -> tuple[list[Path], dict[str, NDArray[np.int64]], Request]:
    """The files that were encoded, their codes by level, int64 [N, h, w], and whether it was asked to stop early."""
    import numpy as np

    files: list[Path] = []
    codes: dict[str, NDArray[np.int64]] = {}
    with interruptible() as asked:
        for part, images in inputs.parts("encode", asked.is_set):
            for start in range(0, len(part), sampler.default_batch):
                if asked.is_set():
                    break
                batch = slice(start, start + sampler.default_batch)
                for level, found in sampler.encode(images[batch]).items():
                    if level not in codes:  # room for all at once: no moment holds two copies
                        codes[level] = np.empty((len(inputs.files), *found.shape[1:]), np.int64)
                    codes[level][len(files) : len(files) + len(found)] = found
                files += part[batch]
                asked.wait_for_results()
    return files, {level: values[: len(files)] for level, values in codes.items()}, asked
