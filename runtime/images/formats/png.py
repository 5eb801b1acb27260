"""PNG: what Pillow's reader leaves out or rounds wrongly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL.ImageFile import ImageFile

from latentloop.errors import InputError
from latentloop.images.formats.pixel_values import (
    Samples,
    has_srgb_primaries,
    keyed,
    palette_size,
    pillow_palette,
    plain,
    raw_mode,
    sixteen,
    through_palette,
    unpacked_as,
)


def samples(file: Path, image: ImageFile) -> Samples:
    """The pixels with their transparency. Raises InputError for a palette too small."""
    raw, mode, clear = raw_mode(image), image.mode, image.info.get("transparency")
    size = palette_size(image) if mode == "P" else 0
    image.load()  # metadata may stand behind the pixels
    if mode == "P":
        return through_palette(np.asarray(image), pillow_palette(image, size), clear)
    if raw == "LA;16B":
        values = unpacked_as(file, "RGBA")
        return Samples(sixteen(values[:, :, 0], values[:, :, 1]), sixteen(values[:, :, 2], values[:, :, 3]), 65535)
    top = 255
    if raw in ("RGB;16B", "RGBA;16B"):
        values, top = sixteen(np.asarray(image), unpacked_as(file, raw[:-1] + "L")), 65535
        if mode == "RGBA":
            return Samples(values[:, :, :3], values[:, :, 3], top)
        found = Samples(values, top=top)
    elif raw == "I;16B":
        top = 65535
        found = Samples(np.asarray(image), top=top)
    else:
        found = plain(image)
    if clear is None or found.alpha is not None:
        return found
    key: Any = np.array(clear)
    if raw in ("L;2", "L;4"):  # the key is given in the file's own levels
        levels = 3 if raw == "L;2" else 15
        key = (key & levels) * (255 // levels)
    elif top == 255:
        key = key & 255
    return keyed(found.colour, key, top)


def check_colour(file: Path, image: ImageFile) -> None:
    """Raises InputError where chunks other than a profile say that the values are not sRGB's."""
    info = image.info
    kinds = chunk_kinds(file)
    if b"cICP" in kinds and kinds[b"cICP"][:4] != bytes((1, 13, 0, 1)):
        raise InputError("has colours of another space than sRGB (chunk cICP): convert it to sRGB")
    if b"iCCP" in kinds or b"sRGB" in kinds:
        return  # these come before gAMA and cHRM
    gamma, primaries = info.get("gamma"), info.get("chromaticity")
    if gamma is not None and not 0.95 <= gamma * 2.2 <= 1.05:
        raise InputError(f"has the gamma {gamma:.5f} (chunk gAMA), expected sRGB's 0.45455: convert it to sRGB")
    colour = image.mode not in ("1", "L", "LA", "I", "I;16", "I;16B") and raw_mode(image) != "LA;16B"
    if colour and primaries is not None and not has_srgb_primaries(primaries):
        raise InputError("has other primaries than sRGB (chunk cHRM): convert it to sRGB")


def chunk_kinds(file: Path) -> dict[bytes, bytes]:
    """The chunks before the pixels by their names: the beginning of each."""
    found: dict[bytes, bytes] = {}
    with file.open("rb") as content:
        content.seek(8)
        while len(head := content.read(8)) == 8 and head[4:] not in (b"IDAT", b"IEND"):
            length = int.from_bytes(head[:4], "big")
            found[head[4:]] = content.read(min(length, 16))
            content.seek(length - min(length, 16) + 4, 1)
    return found
