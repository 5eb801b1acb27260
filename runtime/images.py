"""Image files to and from arrays uint8 [N, H, W, C]; C is 1 (grey) or 3 (RGB)."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, features

from latentloop.errors import InputError, OutputError
from latentloop.files import check_free, new_directory, write_file

Images = NDArray[np.uint8]

READ_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".pgm", ".ppm")
LARGEST = 2**31  # values of an image that is written; a grid that asks for more is a mistake
_READ_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # and no other decoder of Pillow's

# Each suffix that can be written: the longest side in pixels, and Pillow's options.
_WRITTEN: dict[str, tuple[int, dict[str, Any]]] = {
    ".png": (2**31 - 1, {}),
    ".jpg": (65500, {"quality": 95}),
    ".jpeg": (65500, {"quality": 95}),
    ".webp": (16383, {"lossless": True}),
}
_OWN_NAME = re.compile(r"\d{5,}(-.*)?\.(png|jpe?g|webp)")  # as the commands name images in a folder


def images_in(folder: Path) -> list[Path]:
    """The files of a directory that look like images by their names, sorted."""
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in READ_SUFFIXES and file.is_file())


def find_images(paths: Sequence[Path]) -> list[Path]:
    """The image files that ``paths`` mean: a directory stands for its images, sorted by name.

    Raises InputError for a path that is not there, and for a directory without images.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = images_in(path)
            if not inside:
                raise InputError(f"{path} holds no images, expected files ending in {', '.join(READ_SUFFIXES)}")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise InputError(f"{path}: no such file or directory")
    return found


def read_images(paths: Sequence[Path], image: tuple[int, int, int], *, resize: bool = False) -> Images:
    """The images of files and directories, uint8 [N, H, W, C], at the size ``image`` = (H, W, C).

    Colour becomes grey by ITU-R 601 luma where C is 1; transparent pixels are laid on white; 16-bit grey is rounded to
    8 bits; EXIF orientation is applied. ``resize`` crops the centre to the aspect ratio and resizes (Lanczos).

    Raises InputError for what is not there, not an image, truncated, larger than Pillow's limit against
    decompression bombs, or of another size where ``resize`` is off.
    """
    files = find_images(paths)
    found = np.empty((len(files), *image), np.uint8)
    for index, file in enumerate(files):
        found[index] = _fit(_open(file, image[2]), file, image, resize)
    return found


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


def write_images(folder: Path, images: Images, names: Sequence[str], *, force: bool = False) -> None:
    """Writes uint8 [N, H, W, C] as ``folder``/``names[i]``, all or none. Raises InputError or OutputError."""
    check_folder(folder, force=force)
    with new_directory(folder, force=force) as temporary:
        for image, name in zip(images, names, strict=True):
            check_image_path(Path(name), image.shape)
            _save(temporary / name, image)


def check_folder(folder: Path, *, force: bool) -> None:
    """Raises OutputError where ``folder`` exists; with ``force``, where it holds anything but an earlier run's images.

    Replacing a folder removes what it holds, and a mistyped name must not cost a user's own pictures.
    """
    check_free(folder, force=force)
    if not folder.exists():
        return
    if folder.is_symlink() or not folder.is_dir():
        raise OutputError(f"{folder} is not a folder, choose another name for the folder of images")
    for file in folder.iterdir():
        if not _OWN_NAME.fullmatch(file.name.lower()) or not file.is_file():
            raise OutputError(
                f"{folder} also holds {file.name}, which --force would remove with it: choose another name"
            )


def _save(path: Path, image: Images) -> None:
    pixels = image[:, :, 0] if image.shape[2] == 1 else image
    Image.fromarray(pixels).save(path, **_WRITTEN[path.suffix.lower()][1])


def _open(file: Path, channels: int) -> Image.Image:
    """The image as "L" or "RGB"."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(file, formats=_READ_FORMATS) as opened:
                return _convert(ImageOps.exif_transpose(opened), "L" if channels == 1 else "RGB")
        except InputError as error:
            raise InputError(f"{file} {error}") from None
        except Exception as error:  # a hostile file can fail in many ways, all of which mean the same
            raise InputError(f"{file} cannot be read as an image: {error}") from error


def _convert(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == "F":
        raise InputError("has floating-point pixels, expected 8 or 16 bits: convert it first")
    if image.mode.startswith("I"):
        values = np.asarray(image, np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise InputError(f"has pixels from {values.min()} to {values.max()}, expected 16 bits: convert it first")
        image = Image.fromarray(np.round(values / 257).astype(np.uint8))
    if image.mode in ("RGBA", "RGBa", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def _fit(opened: Image.Image, file: Path, image: tuple[int, int, int], resize: bool) -> Images:
    height, width, channels = image
    if opened.size != (width, height):
        if not resize:
            raise InputError(
                f"{file} has {opened.height} x {opened.width} pixels (height x width), expected {height} x {width}; "
                "--resize crops the centre and resizes"
            )
        opened = ImageOps.fit(opened, (width, height), Image.Resampling.LANCZOS)
    pixels: Images = np.asarray(opened, np.uint8).reshape(height, width, channels)
    return pixels
