"""``latentloop reconstruct``: images through the codes and back, beside the originals."""

from __future__ import annotations

import argparse
import itertools
import math
from pathlib import Path
from typing import TYPE_CHECKING

from latentloop.cli import options
from latentloop.cli.interrupt import Request, finishing, interruptible

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from latentloop.cli.image_inputs import Inputs
    from latentloop.sampling.sampler import Sampler

HELP = "encode and decode images, and measure the error"
EPILOG = """examples:
  latentloop reconstruct photos/ --resize
  latentloop reconstruct a.png b.png --out pairs.png

A folder stands for the images in and below it. All are checked before the first is encoded.
In a grid each row of originals stands above the row of their reconstructions; a folder gets the reconstructions only.
The mean squared error is over all pixels and channels, on the scale 0 to 1. Ctrl-C keeps what is finished.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image files, or folders of them")
    options.add_bundle(parser)
    options.add_resize(parser)
    options.add_skip_bad(parser)
    options.add_output(parser, required=False)
    options.add_running(parser)


def run(arguments: argparse.Namespace) -> int:
    """Reconstructs, measures and writes; returns the exit status. Raises LatentLoopError."""
    output = options.Output.wanted(arguments)
    sampler = options.open_sampler(arguments)
    shape = sampler.bundle.manifest.image
    from latentloop.cli.image_inputs import Inputs

    inputs = Inputs.of(arguments, shape)
    count = len(inputs.files)
    columns = arguments.columns or min(count, 8)
    if output and not output.folder:
        output.check_size(2 * -(-count // columns) * columns, shape, columns)
    if output:
        output.check_inputs(inputs.files)
    files: list[Path] = []
    errors: list[float] = []
    kept: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]] = []
    with interruptible() as asked:
        pairs = _pairs(sampler, inputs, files, errors, asked)
        if (first := next(pairs, None)) is not None:
            every = itertools.chain([first], pairs)
            if output and output.folder:
                names = (f"{index:05}.png" for index, _ in enumerate(errors))  # a name for each error that was measured
                output.write((found for _, found in every), names)
            else:
                kept = [pair for pair in every if output]
    done = len(files)
    if output and kept:
        with finishing(asked):
            columns = arguments.columns or min(done, 8)
            output.write(_rows(kept, columns), (), columns)
    error = math.fsum(errors) / done if done else None
    psnr = _psnr(error) if error is not None else None
    if arguments.json:
        options.print_json(
            {
                "file": str(output) if output and done else None,
                "images": [str(file) for file in files],
                "skipped": inputs.summary(),
                "mean_squared_error": error,
                "psnr_db": psnr,
                "mean_squared_error_by_image": errors,
                "cancelled": asked.is_set(),
            }
        )
    elif done:
        print(
            f"{done} {options.plural(done, 'image')}: mean squared error {error:.6f}, "
            f"PSNR {'infinite' if psnr is None else f'{psnr:.2f} dB'}" + (f"; {output}" if output else "")
        )
    inputs.close(f"the figures are those of the other {done}")
    if asked.is_set():
        options.note_interrupted(done, count, " and written" if output else "")
        return asked.status
    return 0


def _pairs(
    sampler: Sampler, inputs: Inputs, files: list[Path], errors: list[float], asked: Request
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Originals and reconstructions [H, W, C], one after the other, until ``asked`` to stop; adds the files and their
    errors as it goes.
    """
    for part, images in inputs.parts("reconstruct", asked.is_set):
        for start in range(0, len(part), sampler.default_batch):
            if asked.is_set():
                return
            batch = slice(start, start + sampler.default_batch)
            decoded = sampler.decode(sampler.encode(images[batch]))
            asked.wait_for_results()
            for file, image, found in zip(part[batch], images[batch], decoded, strict=True):
                files.append(file)
                errors.append(_mean_squared_error(image, found))
                yield image, found


def _rows(pairs: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]], columns: int) -> NDArray[np.uint8]:
    """Rows of originals and reconstructions in turn, filled up with white: [2 * rows * columns, H, W, C]."""
    import numpy as np

    rows = -(-len(pairs) // columns)
    shape = pairs[0][0].shape
    shown = np.full((rows, 2, columns, *shape), 255, np.uint8)
    for index, pair in enumerate(pairs):
        shown[index // columns, :, index % columns] = pair
    return shown.reshape(-1, *shape)


def _mean_squared_error(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """On the scale 0 to 1."""
    return float(((a.astype("float64") - b) ** 2).mean() / 255**2)


def _psnr(error: float) -> float | None:
    """In dB, for a peak of 1; None where it is infinite."""
    return -10 * math.log10(error) if error else None
