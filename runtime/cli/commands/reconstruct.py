"""``latentloop reconstruct``: encodes and decodes images, and compares the result with the originals."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from latentloop.cli import messages, options
from latentloop.cli.errors_report import ErrorsReport, unit_errors
from latentloop.cli.image_output import ImageOutput
from latentloop.cli.interrupt import StopRequest, defer_stop, stop_request

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from latentloop.cli.image_inputs import ImageInputs
    from latentloop.sampling.sampler import Sampler

    Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]  # an original and its reconstruction, [H, W, C]

MAX_PAIRS = 64  # in a grid

HELP = "encode and decode images, and measure the error"
EPILOG = """examples:
  latentloop reconstruct photos/ --resize
  latentloop reconstruct a.png b.png --out pairs.png

A folder means all images in it and in its sub-folders, and IDX files with MNIST's names: what `train --data` takes.
All images are checked before the first is encoded. --resize crops and resizes images, and adds a border to IDX images.
In a grid, each row of originals is above the row of its reconstructions; of many images it shows 64, evenly spaced. A
folder gets the reconstructions only, of all images, and tables files-*.csv of the originals' names and errors.
The mean squared error is over all pixels and channels, on the scale 0 to 1. Ctrl-C writes the finished images; in a
folder the same command then goes on.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    options.add_images(parser)
    options.add_bundle(parser)
    options.add_unfit_images(parser)
    options.add_shards(options.add_output(parser, required=False, columns="8"))
    options.add_running(parser)


def run(arguments: argparse.Namespace) -> int:
    """Reconstructs images, measures errors, writes the results, and returns the exit status. Raises LatentLoopError."""
    # 1. Check the output, then the images.
    output = ImageOutput.optional(arguments)
    options.check_no_bundle(arguments.images, arguments)
    if output and output.folder:
        from latentloop.cli.folders.reconstructing import reconstruct_to_folder

        return reconstruct_to_folder(arguments, output)
    sampler = options.open_sampler(arguments)
    shape = sampler.bundle.manifest.image
    from latentloop.cli.image_inputs import ImageInputs

    inputs = ImageInputs.check(arguments, shape)
    count = len(inputs.files)
    if output:
        pairs = min(count, MAX_PAIRS)
        columns = arguments.columns or min(pairs, 8)
        output.check_size(2 * -(-pairs // columns) * columns, shape, columns)
        output.check_inputs(inputs.paths)
    # 2. Reconstruct and measure, and write the grid.
    errors, stop = _reconstruct(sampler, inputs, output)
    # 3. Report.
    done = len(errors.files)
    summary = {
        "file": str(output) if output and done else None,
        **errors.summary(),
        "skipped": inputs.skipped_as_json(),
        "cancelled": stop.is_set(),
    }
    line = errors.line() if done else ""
    if line and output:
        line += f"; {output}: {_shown_pairs(done, count)}"
    messages.print_result(summary, line, as_json=arguments.json)
    inputs.report_changed(f"the figures are those of the other {done}")
    return messages.exit_status(stop, messages.finished(done, count, " and written" if output else ""))


def _reconstruct(sampler: Sampler, inputs: ImageInputs, output: ImageOutput | None) -> tuple[ErrorsReport, StopRequest]:
    """Reconstructs all images until requested to stop, and writes the grid."""
    errors = ErrorsReport([], [])
    grid_pairs: list[Pair] = []
    shown = _evenly_spaced(len(inputs.files))
    with stop_request() as stop:
        for batch, images in inputs.batches(sampler.default_batch_size, "reconstruct", stop):
            decoded = sampler.decode(sampler.encode(images))
            stop.wait_for_results()
            for file, *pair in zip(batch, images, decoded, strict=True):
                if output and len(errors.files) in shown:
                    grid_pairs.append((pair[0], pair[1]))
                errors.files.append(str(file))
            errors.errors.extend(unit_errors(images, decoded))
    if output and grid_pairs:
        with defer_stop(stop):
            columns = output.columns or min(len(grid_pairs), 8)
            output.write(_rows(grid_pairs, columns), columns)
    return errors, stop


def _evenly_spaced(count: int) -> set[int]:
    """Returns the indices of the images that a grid shows."""
    pairs = min(count, MAX_PAIRS)
    return {index * count // pairs for index in range(pairs)}


def _shown_pairs(done: int, count: int) -> str:
    """Returns a text about the grid for ``done`` finished images of ``count``."""
    shown = sum(index < done for index in _evenly_spaced(count))
    pairs = f"{shown} of them, " if shown < done else ""
    return f"{pairs}each row of originals above its reconstructions"


def _rows(pairs: list[Pair], columns: int) -> NDArray[np.uint8]:
    """Returns alternating rows of originals and reconstructions, padded with white: [2 * rows * columns, H, W, C]."""
    import numpy as np

    rows = -(-len(pairs) // columns)
    shape = pairs[0][0].shape
    images = np.full((rows, 2, columns, *shape), 255, np.uint8)
    for index, pair in enumerate(pairs):
        images[index // columns, :, index % columns] = pair
    return images.reshape(-1, *shape)
