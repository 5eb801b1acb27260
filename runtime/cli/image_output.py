"""The destination of a command's images: one file with a grid, or the folder of a run."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from latentloop.cli.options import GRID_IMAGE_HEIGHT
from latentloop.errors import InputError

if TYPE_CHECKING:  # imported late, so that --help is fast
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ImageOutput:
    """Where images are written: ``path`` is a file with a grid, or, if ``folder``, the folder of a run. ``animation``
    is the file that shows how the grid is drawn, if any.
    """

    path: Path
    folder: bool
    columns: int | None
    scale: int | None
    force: bool
    animation: Path | None = None

    @staticmethod
    def required(arguments: argparse.Namespace) -> ImageOutput:
        """Returns the output that the options of ``add_output``, ``add_shards`` and ``add_running`` name. Call it
        before any work. A folder that exists is not checked, because a run may go on in it.

        Raises InputError, and OutputError if nothing can be written there.
        """
        from latentloop.images.writing import check_folder, check_image_path
        from latentloop.io.files import check_free

        path, folder = Path(arguments.out), arguments.out.endswith("/")
        if folder and arguments.columns:
            raise InputError(f"--columns applies to a grid, but --out {arguments.out} is a folder of single images")
        for option in () if folder else ("format", "shard_size", "shard", "ray"):
            if getattr(arguments, option, None) is not None:
                shown = option.replace("_", "-")
                raise InputError(f"--{shown} applies to a folder of images, but --out {path} is a grid: end it in /")
        if folder and not path.is_dir():
            check_folder(path, force=arguments.force)
        elif not folder:
            check_image_path(path)
            check_free(path, force=arguments.force)
        animation = getattr(arguments, "animate", None)
        return ImageOutput(path, folder, arguments.columns, arguments.scale, arguments.force, animation)

    @staticmethod
    def optional(arguments: argparse.Namespace) -> ImageOutput | None:
        """Like ``required``, but returns None without ``--out``. Raises InputError for options that need it."""
        if arguments.out is not None:
            return ImageOutput.required(arguments)
        for option in ("columns", "scale", "format", "shard_size"):
            if getattr(arguments, option):
                raise InputError(
                    f"--{option.replace('_', '-')} applies to written images, but nothing is written without --out"
                )
        return None

    def check_inputs(self, files: Iterable[Path]) -> None:
        """Raises InputError if an output would replace one of the input files."""
        files = list(files)
        check_not_replaced(self.path, files, is_folder=self.folder)
        if self.animation is not None:
            check_not_replaced(self.animation, files, is_folder=False, option="--animate")

    def check_size(self, n: int, image: tuple[int, int, int], columns: int | None = None) -> None:
        """Raises InputError if a grid of ``n`` images of (H, W, C), or each image in a folder, is too large."""
        from latentloop.images.writing import check_image_path

        if self.folder:
            scale = self.scale or 1
            check_image_path(self.path / "0.png", (image[0] * scale, image[1] * scale, image[2]))
        else:
            check_image_path(self.path, self.grid_shape(n, image, columns))

    def grid_shape(self, n: int, image: tuple[int, int, int], columns: int | None = None) -> tuple[int, int, int]:
        """Returns the shape (H, W, C) of a grid of ``n`` images of (H, W, C)."""
        from latentloop.images.writing import grid_shape

        return grid_shape(n, self._columns(n, columns), self._scale(image[0]), image)

    def write(self, images: NDArray[np.uint8], columns: int | None = None) -> None:
        """Writes a grid of images uint8 [N, H, W, C]. ``columns`` is its default. Raises OutputError; then nothing is
        left behind.
        """
        from latentloop.images.writing import write_image

        write_image(self.path, self.grid(images, columns), force=self.force)

    def grid(self, images: NDArray[np.uint8], columns: int | None = None) -> NDArray[np.uint8]:
        """Returns the grid [H, W, C] that ``write`` writes."""
        from latentloop.images.writing import grid

        return grid(images, self._columns(len(images), columns), self._scale(images.shape[1]))

    def __str__(self) -> str:
        return f"{self.path}/" if self.folder else str(self.path)

    def _columns(self, n: int, default: int | None) -> int:
        return self.columns or default or math.isqrt(n - 1) + 1

    def _scale(self, height: int) -> int:
        return self.scale or -(-GRID_IMAGE_HEIGHT // height)


def check_not_replaced(output: Path, files: Iterable[Path], *, is_folder: bool, option: str = "--out") -> None:
    """Raises InputError if the output would replace one of the input files. A folder holds only a run's own files."""
    resolved_output = output.resolve()
    for file in files:
        resolved = file.resolve()
        is_inside = is_folder and resolved_output in (*resolved.parents, *file.absolute().parents)
        if resolved_output == resolved or is_inside:
            shown = f"{output}/" if is_folder else output
            raise InputError(f"{option} {shown} would replace {file}, which is to be read: give another name")
