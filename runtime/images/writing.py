"""Writing image files: single ones, grids, folders of one file each."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from latentloop.errors import InputError, OutputError
from latentloop.io.files import check_free, new_directory, write_file

Images = NDArray[np.uint8]

LARGEST = 2**31  # values of an image that is written; a grid that asks for more is a mistake

# Each suffix that can be written: the longest side in pixels, and Pillow's options.
_WRITTEN: dict[str, tuple[int, dict[str, Any]]] = {
    ".png": (2**31 - 1, {}),
    ".jpg": (65500, {"quality": 95}),
    ".jpeg": (65500, {"quality": 95}),
    ".webp": (16383, {"lossless": True}),
}


def grid(images: Images, columns: int, scale: int = 1, gap: int = 2) -> Images:
    """One image of all, row by row: uint8 [N, H, W, C] -> [rows * (H * scale + gap) - gap, ..., C].

    Every pixel becomes ``scale`` x ``scale`` pixels; ``gap`` pixels between images, and places left over, are white.
    """
    n, height, width, channels = images.shape
    shape = grid_shape(n, columns, scale, (height, width, channels), gap)
    result = np.full(shape, 255, np.uint8)
    large = images.repeat(scale, 1).repeat(scale, 2)
    for index, image in enumerate(large):
        top, left = (index // columns) * (height * scale + gap), (index % columns) * (width * scale + gap)
        result[top : top + height * scale, left : left + width * scale] = image
    return result


def grid_shape(n: int, columns: int, scale: int, image: tuple[int, int, int], gap: int = 2) -> tuple[int, int, int]:
    """The (height, width, channels) in pixels that ``grid`` gives ``n`` images of (H, W, C)."""
    rows, used = -(-n // columns), min(n, columns)
    return rows * (image[0] * scale + gap) - gap, used * (image[1] * scale + gap) - gap, image[2]


def check_image_path(path: Path, shape: tuple[int, int, int] | None = None) -> None:
    """Raises InputError where an image (of ``shape`` [H, W, C]) cannot be written under that name."""
    suffix = path.suffix.lower()
    if suffix not in _WRITTEN:
        raise InputError(
            f"{path} ends in {path.suffix!r}, expected one of {', '.join(_WRITTEN)}, or a / at the end for a folder of "
            "images"
        )
    if suffix == ".webp" and not features.check("webp"):
        raise InputError(f"{path}: this Pillow was built without WebP, use .png")
    limit = _WRITTEN[suffix][0]
    if shape is not None and max(shape) > limit:
        raise InputError(f"{path} would have {shape[0]} x {shape[1]} pixels, {suffix} holds {limit} at most: use .png")
    if shape is not None and math.prod(shape) > LARGEST:
        raise InputError(f"{path} would have {shape[0]} x {shape[1]} pixels, too many: ask for fewer or smaller images")


def write_image(path: Path, image: Images, *, force: bool = False) -> None:
    """Writes one image, uint8 [H, W, C], in the format of the suffix. Raises InputError or OutputError."""
    check_image_path(path, image.shape)
    write_file(path, lambda temporary: _save(temporary, image), force=force)


def write_images(folder: Path, images: Iterable[Images], names: Iterable[str], *, force: bool = False) -> None:
    """Writes images, each uint8 [H, W, C], as ``folder``/``names[i]``, all or none, as they come.

    Raises InputError or OutputError.
    """
    check_folder(folder, force=force)
    with new_directory(folder, force=force) as temporary:
        for image, name in zip(images, names, strict=True):
            check_image_path(Path(name), image.shape)
            _save(temporary / name, image, **_own_mark(name))


def check_folder(folder: Path, *, force: bool) -> None:
    """Raises OutputError where ``folder`` exists; with ``force``, where it holds anything but an earlier run's images.

    Replacing a folder removes what it holds, and a mistyped name must not cost a user's own pictures.
    """
    if force and (folder.is_symlink() or folder.is_file()):
        raise OutputError(f"{folder} is not a folder, choose another name for the folder of images")
    check_free(folder, force=force, directory=True)
    if folder.exists():
        from latentloop.io.replaceable import check_images

        check_images(folder)


def _own_mark(name: str) -> dict[str, Any]:
    """Pillow's options for a file that says who wrote it: with ``--force`` it may be replaced."""
    if not name.endswith(".png"):
        return {}
    from PIL.PngImagePlugin import PngInfo

    from latentloop.io.replaceable import OWN

    text = PngInfo()
    text.add(b"tEXt", OWN)
    return {"pnginfo": text}


def _save(path: Path, image: Images, **more: Any) -> None:
    pixels = image[:, :, 0] if image.shape[2] == 1 else image
    Image.fromarray(pixels).save(path, **_WRITTEN[path.suffix.lower()][1], **more)
