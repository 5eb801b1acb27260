"""PBM, PGM and PPM: values up to any maximum, and several images in one file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL.ImageFile import ImageFile

from latentloop.errors import InputError
from latentloop.images.formats.pixel_values import PixelValues, from_pillow

_COMMENT, _MAGIC = re.compile(rb"#[^\r\n]*"), re.compile(rb"P[1-7Ff](?!\w)")


def read_pixels(image: ImageFile) -> PixelValues:
    """Returns the pixels. Raises InputError unless they are integers, grey or RGB."""
    if image.mode not in ("1", "L", "I", "RGB"):
        kind = "floating-point" if image.mode == "F" else image.mode
        raise InputError(f"has {kind} pixels, expected integers, grey or RGB: convert it first")
    if image.mode != "I":
        return from_pillow(image)
    maximum = _maximum(image)
    values = np.asarray(image, np.float64)  # Pillow scales them to 65535
    return PixelValues(np.round(values / 65535 * maximum).astype(np.uint16), maximum=maximum)


def has_second_image(file: Path, image: ImageFile) -> bool:
    """Returns whether a second image, in binary values or in plain text, follows the first."""
    offset, (width, height) = image.tile[0][2], image.size
    with file.open("rb") as content:
        magic = content.read(2)
        if magic in (b"P1", b"P2", b"P3"):  # the first image consists of digits and comments only
            content.seek(offset)
            return any(_MAGIC.search(_COMMENT.sub(b"", line)) for line in content)
        if magic not in (b"P4", b"P5", b"P6"):
            return False
        if magic == b"P4":
            size = (width + 7) // 8 * height
        else:
            size = width * height * (3 if magic == b"P6" else 1) * (2 if _maximum(image) > 255 else 1)
        content.seek(offset + size)
        return content.read(64).lstrip()[:1] == b"P"


def _maximum(image: ImageFile) -> int:
    """Returns the largest value that the header declares."""
    arguments: Any = image.tile[0][3]
    if isinstance(arguments, tuple):
        return int(arguments[1])
    return 65535 if arguments == "I;16B" else 255
