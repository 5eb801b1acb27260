"""Decoding of one image file to "L" or "RGB" in sRGB, upright, on white, as the tables in docs/pictures.md specify."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from PIL import Image
from PIL.ImageFile import ImageFile

from latentloop.errors import InputError
from latentloop.images.formats import bmp, gif, png, ppm, tiff
from latentloop.images.formats.frames import check_frames
from latentloop.images.formats.orientation import apply_orientation, exif_orientation, take_tiff_orientation
from latentloop.images.formats.pixel_values import FORMATS, PixelValues, from_pillow, raw_mode


def decode(file: Path, mode: str) -> tuple[Image.Image, str | None]:
    """Returns the image as ``mode`` ("L" or "RGB"), and a note on the file for the user, if there is one.

    Raises InputError whose text is the reason alone: the caller puts the file's name before it.
    """
    # 1. Check and open the file.
    _check_file(file)
    with Image.open(file, formats=FORMATS) as image:
        note = check_frames(file, image)
        orientation = take_tiff_orientation(image) if image.format == "TIFF" else None
        # 2. Find out the colour space.
        profile = bmp.profile(file) if image.format == "BMP" else image.info.get("icc_profile")
        if image.format == "PNG":
            png.check_colour(file, image)
        has_profile = "icc_profile" in image.info or profile is not None or bool(getattr(image, "icclist", None))
        # 3. Decode to 8 bits.
        simple = image.mode in ("L", "RGB") and "transparency" not in image.info and ";" not in raw_mode(image)
        if simple and image.format in ("JPEG", "MPO", "PNG", "WEBP"):
            colour: Image.Image = image
            alpha, rounded = None, False
            image.load()
        else:
            pixels = _read_pixels(file, image)
            (colour, alpha), rounded = pixels.to_8_bits(), pixels.maximum > 255
        # 4. Convert to sRGB, lay on white, turn upright.
        if has_profile:
            from latentloop.images.colour import to_srgb

            colour = to_srgb(colour, profile, rounded=rounded)
        elif colour.mode == "CMYK":
            if image.format == "TIFF":
                raise InputError("has CMYK pixels and no colour profile: convert it to sRGB")
            colour = colour.convert("RGB")
        if alpha is not None:
            colour = Image.composite(colour, Image.new(colour.mode, colour.size, "white"), alpha)
        warning = None
        if orientation is None:  # only now: in a PNG it may follow the pixels
            orientation, warning = exif_orientation(image)
        return apply_orientation(colour, orientation).convert(mode), "; ".join(filter(None, (note, warning))) or None


def _check_file(file: Path) -> None:
    """Raises InputError unless it is a regular file. Does not open it: opening a pipe would wait for a writer."""
    try:
        kind = os.stat(file).st_mode
    except OSError as error:
        if os.path.islink(file):
            raise InputError(f"is a link to {os.readlink(file)}, which cannot be opened: {error.strerror}") from None
        reason = "no such file or directory" if isinstance(error, FileNotFoundError) else error.strerror
        raise InputError(f"cannot be read: {reason}") from None
    if not stat.S_ISREG(kind):
        noun = "folder" if stat.S_ISDIR(kind) else "pipe" if stat.S_ISFIFO(kind) else "device or socket"
        raise InputError(f"is a {noun}, expected an image file")


def _read_pixels(file: Path, image: ImageFile) -> PixelValues:
    if image.format == "PNG":
        return png.read_pixels(file, image)
    if image.format == "TIFF":
        return tiff.read_pixels(file, image)
    if image.format == "BMP":
        return bmp.read_pixels(file, image)
    if image.format == "GIF":
        return gif.read_pixels(image)
    if image.format == "PPM":
        return ppm.read_pixels(image)
    if image.mode == "CMYK" and image.info.get("adobe_transform") not in (0, 2):
        raise InputError("has CMYK pixels without Adobe's marker, which may be inverted or not: convert it to sRGB")
    image.load()
    return from_pillow(image)
