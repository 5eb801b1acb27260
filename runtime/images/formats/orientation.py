"""Which side of a picture is up, by the metadata of its file."""

from __future__ import annotations

from typing import Any

from PIL import Image
from PIL.ImageFile import ImageFile

_ORIENTATION = 0x0112
_WIDTH, _HEIGHT = 0x0100, 0x0101  # tags of TIFF
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def as_stored(image: ImageFile) -> int:
    """The orientation of a TIFF that is not loaded yet; Pillow then leaves its pixels as they are stored.

    Pillow's own turn reads the rows of some files at the width of the turned picture.
    """
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    exif = image.getexif()
    orientation: int = exif.get(_ORIENTATION, 1)
    exif[_ORIENTATION] = 1
    image._size = tags[_WIDTH], tags[_HEIGHT]
    return orientation


def orientation_of(image: ImageFile) -> tuple[int, str | None]:
    """The orientation of a loaded image that is no TIFF, and what to say where its metadata cannot be read."""
    try:
        if "exif" in image.info:
            Image.Exif().load(image.info["exif"])  # a JPEG's own reader hides what is wrong
        return image.getexif().get(_ORIENTATION, 1), None
    except Exception:  # hostile metadata can fail in many ways, all of which mean the same
        return 1, "has Exif data that cannot be read, the picture is taken to be upright"


def upright(picture: Image.Image, orientation: int) -> Image.Image:
    """The picture turned; orientations that do not exist mean upright."""
    turn = _TURNS.get(orientation)
    return picture if turn is None else picture.transpose(turn)
