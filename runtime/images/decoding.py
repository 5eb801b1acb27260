"""One image file to "L" or "RGB" in sRGB, upright, on white; the table of ``docs/pictures.md`` says what is done."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from PIL import Image
from PIL.ImageFile import ImageFile

from latentloop.errors import InputError
from latentloop.images.formats import bmp, gif, png, ppm, tiff
from latentloop.images.formats.frames import check_frames
from latentloop.images.formats.orientation import as_stored, orientation_of, upright
from latentloop.images.formats.pixel_values import FORMATS, Samples, plain, raw_mode


def decode(file: Path, mode: str) -> tuple[Image.Image, str | None]:
    """The picture as ``mode`` ("L" or "RGB"), and perhaps what to say of the file.

    Raises InputError with the reason alone, to stand behind the file's name.
    """
    _check_file(file)
    with Image.open(file, formats=FORMATS) as image:
        note = check_frames(file, image)
        of_tiff = as_stored(image) if image.format == "TIFF" else None
        profile = bmp.profile(file) if image.format == "BMP" else image.info.get("icc_profile")
        if image.format == "PNG":
            png.check_colour(file, image)
        has_profile = "icc_profile" in image.info or profile is not None or bool(getattr(image, "icclist", None))
        simple = image.mode in ("L", "RGB") and "transparency" not in image.info and ";" not in raw_mode(image)
        if simple and image.format in ("JPEG", "MPO", "PNG", "WEBP"):
            colour: Image.Image = image
            alpha, deep = None, False
            image.load()
        else:
            samples = _samples(file, image)
            (colour, alpha), deep = samples.picture(), samples.top > 255
        if has_profile:
            from latentloop.images.colour import to_srgb

            colour = to_srgb(colour, profile, deep=deep)
        elif colour.mode == "CMYK":
            if image.format == "TIFF":
                raise InputError("has CMYK pixels and no colour profile: convert it to sRGB")
            colour = colour.convert("RGB")
        if alpha is not None:
            colour = Image.composite(colour, Image.new(colour.mode, colour.size, "white"), alpha)
        # Of a PNG it may stand behind the pixels.
        orientation, warning = orientation_of(image) if of_tiff is None else (of_tiff, None)
        return upright(colour, orientation).convert(mode), "; ".join(filter(None, (note, warning))) or None


def _check_file(file: Path) -> None:
    """Raises InputError unless it is a file, without opening it: a pipe would wait for a writer."""
    try:
        kind = os.stat(file).st_mode
    except OSError as error:
        if os.path.islink(file):
            raise InputError(f"is a link to {os.readlink(file)}, which cannot be opened: {error.strerror}") from None
        reason = "no such file or directory" if isinstance(error, FileNotFoundError) else error.strerror
        raise InputError(f"cannot be read: {reason}") from None
    if not stat.S_ISREG(kind):
        what = "folder" if stat.S_ISDIR(kind) else "pipe" if stat.S_ISFIFO(kind) else "device or socket"
        raise InputError(f"is a {what}, expected an image file")


def _samples(file: Path, image: ImageFile) -> Samples:
    if image.format == "PNG":
        return png.samples(file, image)
    if image.format == "TIFF":
        return tiff.samples(file, image)
    if image.format == "BMP":
        return bmp.samples(file, image)
    if image.format == "GIF":
        return gif.samples(image)
    if image.format == "PPM":
        return ppm.samples(image)
    if image.mode == "CMYK" and image.info.get("adobe_transform") not in (0, 2):
        raise InputError("has CMYK pixels without Adobe's marker, which may be inverted or not: convert it to sRGB")
    image.load()
    return plain(image)
