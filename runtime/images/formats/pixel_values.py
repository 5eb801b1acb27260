"""The values of an image file at their full depth, and how they become pictures of 8 bits.

Pillow decodes; where it drops the low byte of 16 bits, both bytes are taken by decoding twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile

from latentloop.errors import InputError
from latentloop.images.formats.orientation import as_stored

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # and no other decoder of Pillow's
SRGB = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)  # x and y of white, red, green and blue


@dataclass(frozen=True)
class Samples:
    """Colour [H, W] or [H, W, 3 or 4 (CMYK)] and perhaps alpha [H, W], integers from 0 to ``top``."""

    colour: NDArray[Any]
    alpha: NDArray[Any] | None = None
    top: int = 255
    premultiplied: bool = False  # colour was multiplied by alpha

    def picture(self) -> tuple[Image.Image, Image.Image | None]:
        """Colour "L", "RGB" or "CMYK" and alpha "L" or None, rounded to 8 bits."""
        colour, alpha = self.colour, self.alpha
        mode = {2: "L", 3: "RGB"}[colour.ndim] if colour.shape[2:] != (4,) else "CMYK"
        if alpha is None:
            return _image(_eight(colour, self.top), mode), None
        top: Any = self.top
        if self.premultiplied:
            top = np.maximum(alpha if colour.ndim == 2 else alpha[:, :, None], 1).astype(np.uint32)
            colour = np.minimum(colour, top)
        return _image(_eight(colour, top), mode), _image(_eight(alpha, self.top), "L")


def raw_mode(image: ImageFile) -> str:
    """How Pillow unpacks the file's bytes, as long as the image is not loaded; nothing for a WebP."""
    tiles: Any = image.tile
    arguments: Any = tiles[0][3] if tiles else ""
    return str(arguments if isinstance(arguments, str) else arguments[0])


def unpacked_as(file: Path, raw: str) -> NDArray[Any]:
    """The file decoded by Pillow, its bytes unpacked in another way of as many bits a pixel; a TIFF is not turned."""
    with Image.open(file, formats=FORMATS) as image:
        if image.format == "TIFF":
            as_stored(image)
        tiles: Any = []
        for tile in image.tile:
            name, box, offset, arguments = tile
            whole: Any = arguments
            changed: Any = (name, box, offset, raw if isinstance(whole, str) else (raw, *whole[1:]))
            tiles.append(changed if type(tile) is tuple else type(tile)(*changed))  # by version of Pillow
        image.tile = tiles
        image.load()
        return np.asarray(image)


def sixteen(high: NDArray[np.uint8], low: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Values of 16 bits of their bytes."""
    return high.astype(np.uint16) * np.uint16(256) + low


def palette_size(image: ImageFile) -> int:
    """Colours in the palette of a "P" image that is not loaded yet. Raises InputError where there is none."""
    palette = image.palette
    if palette is None:
        raise InputError("has no palette for its pixels: repair it")
    return len(palette.palette) // (4 if "X" in str(palette.rawmode or "") else 3)


def through_palette(indices: NDArray[np.uint8], colours: NDArray[np.uint8], alphas: Any = None) -> Samples:
    """Pixels [H, W] that index ``colours`` [n, 3]; ``alphas`` is one index that is clear, or bytes for the first ones.

    Raises InputError for indices beyond the palette.
    """
    if indices.size and indices.max() >= len(colours):
        raise InputError(f"has pixels of colour {indices.max()}, its palette holds {len(colours)} colours: repair it")
    if alphas is None:
        return Samples(colours[indices])
    table = np.full(256, 255, np.uint8)
    if isinstance(alphas, bytes):
        table[: len(alphas)] = np.frombuffer(alphas[:256], np.uint8)
    else:
        table[alphas] = 0
    return Samples(colours[indices], table[indices])


def pillow_palette(image: ImageFile, size: int) -> NDArray[np.uint8]:
    """The first ``size`` colours of a loaded "P" image's palette, [size, 3]."""
    return np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)[:size]


def plain(image: Image.Image) -> Samples:
    """The pixels of a loaded image of 8 bits, "1", "L", "LA", "RGB", "RGBA" or "CMYK", as Pillow gives them."""
    if image.mode == "1":
        return Samples(np.asarray(image.convert("L")))
    values = np.asarray(image)
    if image.mode == "LA":
        return Samples(values[:, :, 0], values[:, :, 1])
    if image.mode == "RGBA":
        return Samples(values[:, :, :3], values[:, :, 3])
    return Samples(values)


def keyed(colour: NDArray[Any], clear: NDArray[Any], top: int = 255) -> Samples:
    """Pixels of which those of the colour ``clear`` are transparent."""
    equal = colour == clear
    return Samples(colour, np.where(equal if colour.ndim == 2 else equal.all(2), 0, top), top)


def has_srgb_primaries(primaries: Sequence[float]) -> bool:
    """Whether x and y of white, red, green and blue are those of sRGB, in all that can be seen."""
    return len(primaries) == 8 and all(abs(a - b) < 0.01 for a, b in zip(primaries, SRGB, strict=True))


def _eight(values: NDArray[Any], top: Any) -> NDArray[np.uint8]:
    """0 to ``top`` as 0 to 255, rounded to the nearest."""
    if isinstance(top, int) and top == 255:
        return values.astype(np.uint8)
    rounded: NDArray[np.uint8] = ((values.astype(np.uint32) * 510 + top) // (np.uint32(2) * top)).astype(np.uint8)
    return rounded


def _image(values: NDArray[np.uint8], mode: str) -> Image.Image:
    return Image.frombytes(mode, values.shape[1::-1], values.tobytes())
