"""The destination of a command's images: one file with a grid, or a folder with one file per image."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
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
    """Writes images to ``path``: a file with a grid, or, if ``folder``, a folder with one file per image."""

    path: Path
    folder: bool
    columns: int | None
    scale: int | None
    force: bool

    @staticmethod
    def required(arguments: argparse.Namespace, *, in_shards: bool = False) -> ImageOutput:
        """Returns the output that the options of ``add_output`` and ``add_running`` name. Call it before any work.

        ``in_shards``: a folder that exists is not checked, because a run may go on in it.

        Raises InputError, and OutputError if nothing can be written there.
        """
        from latentloop.images.writing import check_folder, check_image_path
        from latentloop.io.files import check_free

        path, folder = Path(arguments.out), arguments.out.endswith("/")
        if folder and arguments.columns:
            raise InputError(f"--columns applies to a grid, but --out {arguments.out} is a folder of single images")
        if folder and in_shards and path.is_dir():
            pass
        elif folder:
            check_folder(path, force=arguments.force)
        else:
            check_image_path(path)
            check_free(path, force=arguments.force)
        return ImageOutput(path, folder, arguments.columns, arguments.scale, arguments.force)

    @staticmethod
    def optional(arguments: argparse.Namespace) -> ImageOutput | None:
        """Like ``required``, but returns None without ``--out``. Raises InputError for options that need it."""
        if arguments.out is not None:
            return ImageOutput.required(arguments)
        for option in ("columns", "scale"):
            if getattr(arguments, option):
                raise InputError(f"--{option} applies to written images, but nothing is written without --out")
        return None

    def check_inputs(self, files: Iterable[Path]) -> None:
        """Raises InputError if the output would replace one of the input files."""
        output = self.path.resolve()
        for file in files:
            resolved = file.resolve()
            if output == resolved or (self.folder and output in (*resolved.parents, *file.absolute().parents)):
                raise InputError(f"--out {self} would replace {file}, which is to be read: give another name")

    def check_size(self, n: int, image: tuple[int, int, int], columns: int | None = None) -> None:
        """Raises InputError if a grid of ``n`` images of (H, W, C) is too large for the file's format."""
        from latentloop.images.writing import check_image_path, grid_shape

        if not self.folder:
            check_image_path(self.path, grid_shape(n, self._columns(n, columns), self._scale(image[0]), image))

    def write(
        self, images: NDArray[np.uint8] | Iterable[NDArray[np.uint8]], names: Iterable[str], columns: int | None = None
    ) -> None:
        """Writes images uint8 [N, H, W, C]. ``names`` are the file names in a folder; ``columns`` is a grid's default.

        For a folder, ``images`` may be an iterator of [H, W, C]: each image is written when it arrives.
        Raises OutputError; then nothing is left behind.
        """
        import numpy as np

        from latentloop.images.writing import grid, write_image, write_images

        if self.folder:
            scale = self._scale(0)
            enlarged = (image.repeat(scale, 0).repeat(scale, 1) for image in images)
            write_images(self.path, enlarged, names, force=self.force)
        else:
            array = np.asarray(images)
            scale, columns = self._scale(array.shape[1]), self._columns(len(array), columns)
            write_image(self.path, grid(array, columns, scale), force=self.force)

    def __str__(self) -> str:
        return f"{self.path}/" if self.folder else str(self.path)

    def _columns(self, n: int, default: int | None) -> int:
        return self.columns or default or math.isqrt(n - 1) + 1

    def _scale(self, height: int) -> int:
        return self.scale or (1 if self.folder else -(-GRID_IMAGE_HEIGHT // height))


def file_names(n: int, labels: Sequence[str] | None = None, seeds: Sequence[int] | None = None) -> list[str]:
    """Returns names for n images in a folder: ``00000-<label>-seed<seed>.png``, without labels or seeds if None."""
    from latentloop.images.writing import image_name

    return [image_name(index, labels[index] if labels else None, seeds[index] if seeds else None) for index in range(n)]
