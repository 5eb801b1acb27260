"""BMP: what Pillow's reader takes for something else, and the profile that it passes over."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from PIL.ImageFile import ImageFile

from latentloop.errors import InputError
from latentloop.images.formats.pixel_values import (
    Samples,
    palette_size,
    pillow_palette,
    plain,
    raw_mode,
    through_palette,
)

_BITFIELDS = 3


def samples(file: Path, image: ImageFile) -> Samples:
    """The pixels with their transparency. Raises InputError for layouts that Pillow takes for others."""
    head = _head(file)
    size = struct.unpack_from("<I", head, 14)[0]
    bits = struct.unpack_from("<H", head, 24 if size == 12 else 28)[0]
    compression = 0 if size == 12 else struct.unpack_from("<I", head, 30)[0]
    raw = raw_mode(image)
    if image.mode == "P":
        colours = palette_size(image)
        return through_palette(np.asarray(image), pillow_palette(image, colours))
    if bits == 16:
        if compression == _BITFIELDS and size >= 56 and struct.unpack_from("<I", head, 66)[0]:
            raise InputError("has 16 bits a pixel with alpha, which cannot be read: convert it to 32 bits")
        return Samples(_widened(plain(image).colour, raw))
    if (image.mode, bits) not in (("1", 1), ("L", 8), ("RGB", 24), ("RGB", 32), ("RGBA", 32)):
        raise InputError(f"has {bits} bits a pixel and an uncommon palette: convert it to PNG")
    return plain(image)


def profile(file: Path) -> bytes | None:
    """The colour profile inside. Raises InputError for one that is elsewhere."""
    head = _head(file)
    if struct.unpack_from("<I", head, 14)[0] < 124:
        return None
    kind = head[70:74][::-1]
    if kind == b"LINK":
        raise InputError("names a file with its colour profile, which is not followed: convert it to sRGB")
    if kind != b"MBED":
        return None
    offset, size = struct.unpack_from("<II", head, 126)
    with file.open("rb") as content:
        content.seek(14 + offset)
        return content.read(min(size, 2**24))


def _head(file: Path) -> bytes:
    with file.open("rb") as content:
        return content.read(14 + 124).ljust(14 + 124, b"\0")


def _widened(values: np.ndarray, raw: str) -> np.ndarray:
    """Pillow rounds 5 and 6 bits down when it makes 8 of them; here to the nearest."""
    bits = (5, 6, 5) if raw == "BGR;16" else (5, 5, 5)
    channels = []
    for channel, width in enumerate(bits):
        top = 2**width - 1
        levels = np.arange(top + 1)
        table = np.zeros(256, np.uint8)
        table[levels * 255 // top] = np.round(levels * 255 / top)
        channels.append(table[values[:, :, channel]])
    return np.stack(channels, -1)
