"""BMP: layouts that Pillow misreads, and the colour profile that it ignores."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from PIL.ImageFile import ImageFile

from latentloop.errors import InputError
from latentloop.images.formats.pixel_values import (
    PixelValues,
    apply_palette,
    from_pillow,
    palette_colours,
    palette_size,
    raw_mode,
)

_BITFIELDS = 3
_FILE_HEADER = 14  # bytes, before the information header
_LARGEST_HEADER = 124  # bytes of the information header of version 5


def read_pixels(file: Path, image: ImageFile) -> PixelValues:
    """Returns the pixels with their transparency. Raises InputError for layouts that Pillow misreads."""
    header = _header(file)
    size = struct.unpack_from("<I", header, 14)[0]
    bits = struct.unpack_from("<H", header, 24 if size == 12 else 28)[0]
    compression = 0 if size == 12 else struct.unpack_from("<I", header, 30)[0]
    raw = raw_mode(image)
    if image.mode == "P":
        colours = palette_size(image)
        return apply_palette(np.asarray(image), palette_colours(image, colours))
    if bits == 16:
        if compression == _BITFIELDS and size >= 56 and struct.unpack_from("<I", header, 66)[0]:
            raise InputError("has 16 bits per pixel with alpha, which cannot be read: convert it to 32 bits")
        return PixelValues(_rescale_5_and_6_bits(from_pillow(image).colour, raw))
    if (image.mode, bits) not in (("1", 1), ("L", 8), ("RGB", 24), ("RGB", 32), ("RGBA", 32)):
        raise InputError(f"has {bits} bits per pixel and an uncommon palette: convert it to PNG")
    return from_pillow(image)


def profile(file: Path) -> bytes | None:
    """Returns the embedded colour profile, if any. Raises InputError if the profile is in another file."""
    header = _header(file)
    if struct.unpack_from("<I", header, 14)[0] < 124:
        return None
    kind = header[70:74][::-1]
    if kind == b"LINK":
        raise InputError("names a file with its colour profile, which is not followed: convert it to sRGB")
    if kind != b"MBED":
        return None
    offset, size = struct.unpack_from("<II", header, 126)
    with file.open("rb") as content:
        content.seek(_FILE_HEADER + offset)
        return content.read(min(size, 2**24))


def _header(file: Path) -> bytes:
    """Returns the file header and the longest information header, padded with zeros."""
    with file.open("rb") as content:
        return content.read(_FILE_HEADER + _LARGEST_HEADER).ljust(_FILE_HEADER + _LARGEST_HEADER, b"\0")


def _rescale_5_and_6_bits(values: np.ndarray, raw: str) -> np.ndarray:
    """Returns values rounded to the nearest 8-bit value, from those that Pillow rounded down."""
    bits = (5, 6, 5) if raw == "BGR;16" else (5, 5, 5)
    channels = []
    for channel, width in enumerate(bits):
        maximum = 2**width - 1
        levels = np.arange(maximum + 1)
        table = np.zeros(256, np.uint8)  # from Pillow's value
        table[levels * 255 // maximum] = np.round(levels * 255 / maximum)
        channels.append(table[values[:, :, channel]])
    return np.stack(channels, -1)
