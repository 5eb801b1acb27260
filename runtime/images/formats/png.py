"""PNG: details that Pillow's reader ignores or rounds wrongly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL.ImageFile import ImageFile

from latentloop.errors import InputError
from latentloop.images.formats.pixel_values import (
    PixelValues,
    apply_palette,
    decode_raw,
    from_pillow,
    has_srgb_primaries,
    join_bytes,
    palette_colours,
    palette_size,
    raw_mode,
    with_last_as_alpha,
    with_transparent_colour,
)


def read_pixels(file: Path, image: ImageFile) -> PixelValues:
    """Returns the pixels with their transparency. Raises InputError if the palette is missing or too small."""
    raw, mode, transparent = raw_mode(image), image.mode, image.info.get("transparency")
    size = palette_size(image) if mode == "P" else 0
    image.load()  # metadata may follow the pixels
    if mode == "P":
        return apply_palette(np.asarray(image), palette_colours(image, size), transparent)
    if raw == "LA;16B":
        channels = decode_raw(file, "RGBA")  # the four bytes of a pixel
        grey = join_bytes(channels[:, :, 0], channels[:, :, 1])
        return PixelValues(grey, join_bytes(channels[:, :, 2], channels[:, :, 3]), 65535)
    if raw in ("RGB;16B", "RGBA;16B"):
        values = join_bytes(np.asarray(image), decode_raw(file, raw[:-1] + "L"))
        pixels = with_last_as_alpha(values, 65535) if mode == "RGBA" else PixelValues(values, maximum=65535)
    elif raw == "I;16B":
        pixels = PixelValues(np.asarray(image), maximum=65535)
    else:
        pixels = from_pillow(image)
    if transparent is None or pixels.alpha is not None:
        return pixels
    colour: Any = np.array(transparent)
    if raw in ("L;2", "L;4"):  # the file stores this colour in 2 or 4 bits; Pillow has scaled the pixels to 8
        largest = 3 if raw == "L;2" else 15
        colour = (colour & largest) * (255 // largest)
    elif pixels.maximum == 255:
        colour = colour & 255
    return with_transparent_colour(pixels.colour, colour, pixels.maximum)


def check_colour(file: Path, image: ImageFile) -> None:
    """Raises InputError if chunk cICP, gAMA or cHRM states another colour space than sRGB. Ignores profiles (iCCP)."""
    info = image.info
    chunks = chunk_starts(file)
    if b"cICP" in chunks and chunks[b"cICP"][:4] != bytes((1, 13, 0, 1)):
        raise InputError("has colours of another space than sRGB (chunk cICP): convert it to sRGB")
    if b"iCCP" in chunks or b"sRGB" in chunks:
        return  # these take precedence over gAMA and cHRM
    gamma, primaries = info.get("gamma"), info.get("chromaticity")
    if gamma is not None and not 0.95 <= gamma * 2.2 <= 1.05:
        raise InputError(f"has the gamma {gamma:.5f} (chunk gAMA), expected sRGB's 0.45455: convert it to sRGB")
    colour = image.mode not in ("1", "L", "LA", "I", "I;16", "I;16B") and raw_mode(image) != "LA;16B"
    if colour and primaries is not None and not has_srgb_primaries(primaries):
        raise InputError("has other primaries than sRGB (chunk cHRM): convert it to sRGB")


def chunk_starts(file: Path) -> dict[bytes, bytes]:
    """Returns the first 16 bytes of each chunk before the pixels, by the chunk's name."""
    starts: dict[bytes, bytes] = {}
    with file.open("rb") as content:
        content.seek(8)
        while len(header := content.read(8)) == 8 and header[4:] not in (b"IDAT", b"IEND"):
            length = int.from_bytes(header[:4], "big")
            starts[header[4:]] = content.read(min(length, 16))
            content.seek(length - min(length, 16) + 4, 1)
    return starts
