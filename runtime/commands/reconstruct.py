"""``latentloop reconstruct``: images through the codes and back, beside the originals."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from latentloop import options, progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

HELP = "encode and decode images, and measure the error"
EPILOG = """examples:
  latentloop reconstruct photos/ --resize
  latentloop reconstruct a.png b.png --out pairs.png

In a grid each row of originals stands above the row of their reconstructions; a folder gets the reconstructions only.
The mean squared error is over all pixels and channels, on the scale 0 to 1.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image files, or folders of them")
    options.add_bundle(parser)
    options.add_resize(parser)
    options.add_output(parser, required=False)
    options.add_running(parser)


def run(arguments: argparse.Namespace) -> int:
    """Reconstructs, measures and writes; returns the exit status. Raises LatentLoopError."""
    output = options.Output.of(arguments) if arguments.out else None
    from latentloop.images import find_images, read_images

    files = find_images(arguments.images)
    sampler = options.open_sampler(arguments)
    shape = sampler.bundle.manifest.image
    columns = arguments.columns or min(len(files), 8)
    rows = -(-len(files) // columns)
    if output and not output.folder:
        output.check_size(2 * rows * columns, shape, columns)
    images = read_images(files, shape, resize=arguments.resize)
    found = progress.decode(sampler, progress.encode(sampler, images))
    errors = [_mean_squared_error(a, b) for a, b in zip(images, found, strict=True)]
    error = math.fsum(errors) / len(errors)
    if output:
        shown = found if output.folder else _pairs(images, found, columns)
        output.write(shown, [f"{index:05}.png" for index in range(len(files))], columns)
    if arguments.json:
        options.print_json(
            {
                "file": str(output) if output else None,
                "images": [str(file) for file in files],
                "mean_squared_error": error,
                "psnr_db": _psnr(error),
                "mean_squared_error_by_image": errors,
            }
        )
    else:
        psnr = _psnr(error)
        print(
            f"{len(files)} {options.plural(len(files), 'image')}: mean squared error {error:.6f}, "
            f"PSNR {'infinite' if psnr is None else f'{psnr:.2f} dB'}" + (f"; {output}" if output else "")
        )
    return 0


def _pairs(images: NDArray[np.uint8], found: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Rows of originals and reconstructions in turn, filled up with white: [2 * rows * columns, H, W, C]."""
    import numpy as np

    rows = -(-len(images) // columns)
    pairs = np.full((rows, 2, columns, *images.shape[1:]), 255, np.uint8)
    for row in range(rows):
        part = slice(row * columns, (row + 1) * columns)
        pairs[row, 0, : len(images[part])] = images[part]
        pairs[row, 1, : len(images[part])] = found[part]
    return pairs.reshape(-1, *images.shape[1:])


def _mean_squared_error(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """On the scale 0 to 1."""
    return float(((a.astype("float64") - b) ** 2).mean() / 255**2)


def _psnr(error: float) -> float | None:
    """In dB, for a peak of 1; None where it is infinite."""
    return -10 * math.log10(error) if error else None
