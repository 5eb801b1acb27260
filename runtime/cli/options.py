"""Options that several commands share, and where their images go."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from latentloop.errors import InputError

if TYPE_CHECKING:  # imported late: `--help` needs neither NumPy nor ONNX Runtime
    import numpy as np
    from numpy.typing import NDArray

    from latentloop.bundles.bundle import Bundle
    from latentloop.sampling.sampler import Sampler

SHOWN_HEIGHT = 64  # pixels; images in a grid are enlarged to at least this


def positive(text: str) -> int:
    """An argparse type: an integer of at least 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return value


def setting(text: str) -> float | dict[str, float]:
    """An argparse type: a number, or numbers by level as in ``top=0.9,bottom=1``."""
    try:
        if "=" not in text:
            return float(text)
        pairs = [part.split("=") for part in text.split(",")]
        found = {level.strip(): float(value) for level, value in pairs}
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor level=number,…") from None
    if len(found) < len(pairs):
        raise argparse.ArgumentTypeError(f"{text!r} names a level twice")
    return found


def add_bundle(parser: argparse.ArgumentParser) -> None:
    """``--bundle``."""
    parser.add_argument(
        "--bundle", type=Path, metavar="DIR", help="what `latentloop export` wrote (default: the one that ships)"
    )


def add_running(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """``--device``, ``--threads``, ``--json`` and ``--force``; returns their group of the help."""
    group = parser.add_argument_group("running")
    add_device(group)
    group.add_argument("--threads", type=positive, metavar="N", help="processor threads (default: all)")
    group.add_argument("--json", action="store_true", help="print a summary as JSON on stdout")
    group.add_argument("--force", action="store_true", help="replace outputs that exist")
    return group


def add_device(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """``--device``."""
    from latentloop.backends import registry

    *most, last = registry.names()
    parser.add_argument(
        "--device",
        default="auto",
        metavar="NAME",
        help=f"auto, {', '.join(most)} or {last}, a GPU also by number as in cuda:1 (default: auto, the best that "
        "works here)",
    )


def add_precision(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """``--precision``."""
    parser.add_argument(
        "--precision",
        default="float32",
        metavar="NAME",
        help="of the priors' weights: float32, or int8 where the bundle has it; on tensorrt also float16 and bfloat16 "
        "(default: float32)",
    )


def add_output(parser: argparse.ArgumentParser, *, required: bool) -> argparse._ArgumentGroup:
    """``--out``, ``--columns`` and ``--scale``; returns their group of the help."""
    group = parser.add_argument_group("output")
    group.add_argument(
        "--out",
        required=required,
        metavar="PATH",
        help="a grid of all images (.png, .jpg or .webp), or a folder of one file each where the name ends in /",
    )
    group.add_argument("--columns", type=positive, metavar="N", help="images per row of the grid (default: a square)")
    group.add_argument(
        "--scale",
        type=positive,
        metavar="N",
        help=f"enlarge each pixel to N x N (default: a grid's images to at least {SHOWN_HEIGHT} rows)",
    )
    return group


def add_resize(parser: argparse.ArgumentParser) -> None:
    """``--resize``."""
    parser.add_argument(
        "--resize", action="store_true", help="crop the centre of images of another size, and resize them"
    )


def add_skip_bad(parser: argparse.ArgumentParser) -> None:
    """``--skip-bad``."""
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave out images that cannot be used, and say which (default: name them all and stop before the work)",
    )


def open_bundle(path: Path | None) -> Bundle:
    """The bundle in a directory, or the one that ships. Raises BundleError."""
    from latentloop.bundles.bundle import Bundle

    return Bundle.default() if path is None else Bundle.open(path)


def open_sampler(arguments: argparse.Namespace) -> Sampler:
    """A sampler over the bundle asked for. Raises LatentLoopError."""
    from latentloop.sampling.sampler import Sampler

    precision = getattr(arguments, "precision", "float32")  # not every command runs a prior
    return Sampler(open_bundle(arguments.bundle), arguments.device, arguments.threads, precision)


def file_names(n: int, labels: Sequence[str] | None = None, seeds: Sequence[int] | None = None) -> list[str]:
    """Names for a folder of n images: ``00000-<label>-seed<seed>.png``, of these what there is."""
    named = []
    for index in range(n):
        label = "".join(c if c.isalnum() or c in "._-" else "-" for c in labels[index][:40]) if labels else ""
        parts = [f"{index:05}", *([label] if label else []), *([f"seed{seeds[index]}"] if seeds else [])]
        named.append("-".join(parts) + ".png")
    return named


def note(text: str) -> None:
    """Prints a line for people on stderr."""
    print(f"latentloop: {text}", file=sys.stderr)


def note_interrupted(done: int, n: int, written: str = " and written") -> None:
    """Says what became of n images where the command was asked to stop."""
    note(f"interrupted, {f'{done} of {n} images were finished{written}' if done else 'no image was finished'}")


def plural(n: int, noun: str) -> str:
    """The noun for that number of things."""
    return noun if n == 1 else f"{noun}s"


def print_json(value: object) -> None:
    """Prints for machines: ASCII, indented, no NaN."""
    print(json.dumps(value, indent=1, allow_nan=False))


@dataclass(frozen=True)
class Output:
    """Where images go: ``path`` is one file that holds a grid, or a folder of one file each."""

    path: Path
    folder: bool
    columns: int | None
    scale: int | None
    force: bool

    @staticmethod
    def of(arguments: argparse.Namespace) -> Output:
        """What ``add_output`` and ``add_running`` parsed. Raises InputError or OutputError before any work is done."""
        from latentloop.images.writing import check_folder, check_image_path
        from latentloop.io.files import check_free

        path, folder = Path(arguments.out), arguments.out.endswith("/")
        if folder and arguments.columns:
            raise InputError(f"--columns is of a grid, and --out {arguments.out} asks for a folder of single images")
        if folder:
            check_folder(path, force=arguments.force)
        else:
            check_image_path(path)
            check_free(path, force=arguments.force)
        return Output(path, folder, arguments.columns, arguments.scale, arguments.force)

    @staticmethod
    def wanted(arguments: argparse.Namespace) -> Output | None:
        """As ``of``, where ``--out`` may be left out; None then. Raises InputError for options that need it."""
        if arguments.out is not None:
            return Output.of(arguments)
        for option in ("columns", "scale"):
            if getattr(arguments, option):
                raise InputError(f"--{option} is of the images, and nothing is written without --out")
        return None

    def check_inputs(self, files: Iterable[Path]) -> None:
        """Raises InputError where the images would replace a file that they are made from."""
        own = self.path.resolve()
        for file in files:
            found = file.resolve()
            if own == found or (self.folder and own in (*found.parents, *file.absolute().parents)):
                raise InputError(f"--out {self} would replace {file}, which is to be read: give another name")

    def check_size(self, n: int, image: tuple[int, int, int], columns: int | None = None) -> None:
        """Raises InputError where ``n`` images of (H, W, C) make a grid too large for the file's format."""
        from latentloop.images.writing import check_image_path, grid_shape

        if not self.folder:
            check_image_path(self.path, grid_shape(n, self._columns(n, columns), self._scale(image[0]), image))

    def write(
        self, images: NDArray[np.uint8] | Iterable[NDArray[np.uint8]], names: Iterable[str], columns: int | None = None
    ) -> None:
        """Writes uint8 [N, H, W, C]; ``names`` are the files' in a folder. ``columns`` is the default for a grid.

        To a folder ``images`` may be an iterator of [H, W, C]: each is written as it comes.
        Raises OutputError; nothing half-written is left then.
        """
        import numpy as np

        from latentloop.images.writing import grid, write_image, write_images

        if self.folder:
            scale = self._scale(0)
            large = (image.repeat(scale, 0).repeat(scale, 1) for image in images)
            write_images(self.path, large, names, force=self.force)
        else:
            shown = np.asarray(images)
            scale, used = self._scale(shown.shape[1]), self._columns(len(shown), columns)
            write_image(self.path, grid(shown, used, scale), force=self.force)

    def __str__(self) -> str:
        return f"{self.path}/" if self.folder else str(self.path)

    def _columns(self, n: int, default: int | None) -> int:
        return self.columns or default or math.isqrt(n - 1) + 1

    def _scale(self, height: int) -> int:
        return self.scale or (1 if self.folder else -(-SHOWN_HEIGHT // height))
