"""The orientation of an image, from the metadata of its file."""

from __future__ import annotations

from typing import Any

from PIL import Image
from PIL.ImageFile import ImageFile

_ORIENTATION = 0x0112
_WIDTH, _HEIGHT = 0x0100, 0x0101  # tags of TIFF
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def take_tiff_orientation(image: ImageFile) -> int:
    """Returns the orientation of a TIFF that is not loaded yet, and stops Pillow from applying it.

    When Pillow applies it, it reads the rows of some files at the width of the rotated image.
    """
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    exif = image.getexif()
    orientation: int = exif.get(_ORIENTATION, 1)
    exif[_ORIENTATION] = 1
    image._size = tags[_WIDTH], tags[_HEIGHT]
    return orientation


def exif_orientation(image: ImageFile) -> tuple[int, str | None]:
    """Returns the orientation of a loaded image that is not a TIFF, and a note if its metadata cannot be read."""
    try:
        if "exif" in image.info:
            Image.Exif().load(image.info["exif"])  # raises, unlike a JPEG's own reader, which hides errors
        return image.getexif().get(_ORIENTATION, 1), None
    except Exception:  # hostile metadata can fail in many ways, all with the same meaning
        return 1, "has Exif data that cannot be read, the image is assumed to be upright"


def apply_orientation(image: Image.Image, orientation: int) -> Image.Image:
    """Returns the image upright; undefined orientations count as upright."""
    transposition = _TRANSPOSITIONS.get(orientation)
    return image if transposition is None else image.transpose(transposition)
