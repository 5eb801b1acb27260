"""The pixel values of an image file at their full depth, and their conversion to 8 bits.

Pillow decodes the file. Where it drops the low byte of 16-bit values, the file is decoded twice to get both bytes.
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
from latentloop.images.formats.orientation import take_tiff_orientation

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # the only decoders of Pillow that are used
SRGB = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)  # x and y of white, red, green and blue


@dataclass(frozen=True, eq=False)
class PixelValues:
    """Colour [H, W] or [H, W, 3 or 4 (CMYK)] and optional alpha [H, W], integers from 0 to ``maximum``."""

    colour: NDArray[Any]
    alpha: NDArray[Any] | None = None
    maximum: int = 255
    premultiplied: bool = False  # colour was multiplied by alpha

    def to_8_bits(self) -> tuple[Image.Image, Image.Image | None]:
        """Returns colour ("L", "RGB" or "CMYK") and alpha ("L" or None), rounded to 8 bits, not premultiplied."""
        colour, alpha = self.colour, self.alpha
        mode = {2: "L", 3: "RGB"}[colour.ndim] if colour.shape[2:] != (4,) else "CMYK"
        if alpha is None:
            return _to_pillow(_scale_to_255(colour, self.maximum), mode), None
        maximum: Any = self.maximum
        if self.premultiplied:
            maximum = np.maximum(alpha if colour.ndim == 2 else alpha[:, :, None], 1).astype(np.uint32)
            colour = np.minimum(colour, maximum)
        return _to_pillow(_scale_to_255(colour, maximum), mode), _to_pillow(_scale_to_255(alpha, self.maximum), "L")


def raw_mode(image: ImageFile) -> str:
    """Returns Pillow's name for the layout of the file's pixels, before the image is loaded; "" for a WebP."""
    tiles: Any = image.tile
    arguments: Any = tiles[0][3] if tiles else ""
    return str(arguments if isinstance(arguments, str) else arguments[0])


def decode_raw(file: Path, raw: str) -> NDArray[Any]:
    """Returns the file's pixels, decoded as if its raw mode were ``raw``, which must have as many bits per pixel.

    The orientation of a TIFF is not applied.
    """
    with Image.open(file, formats=FORMATS) as image:
        if image.format == "TIFF":
            take_tiff_orientation(image)
        tiles: Any = []
        for tile in image.tile:
            name, box, offset, arguments = tile
            old: Any = arguments
            fields: Any = (name, box, offset, raw if isinstance(old, str) else (raw, *old[1:]))
            tiles.append(fields if type(tile) is tuple else type(tile)(*fields))  # newer Pillow: a named tuple
        image.tile = tiles
        image.load()
        return np.asarray(image)


def join_bytes(high: NDArray[np.uint8], low: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Returns the 16-bit values of these high and low bytes."""
    return high.astype(np.uint16) * np.uint16(256) + low


def palette_size(image: ImageFile) -> int:
    """Returns the number of colours of a "P" image that is not loaded yet. Raises InputError if it has no palette."""
    palette = image.palette
    if palette is None:
        raise InputError("has no palette for its pixels: repair it")
    return len(palette.palette) // (4 if "X" in str(palette.rawmode or "") else 3)


def palette_colours(image: ImageFile, size: int) -> NDArray[np.uint8]:
    """Returns the first ``size`` colours of a loaded "P" image, [size, 3]."""
    return np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)[:size]


def apply_palette(indices: NDArray[np.uint8], colours: NDArray[np.uint8], alphas: Any = None) -> PixelValues:
    """Returns the ``colours`` [n, 3] of indices [H, W]. ``alphas`` is the index of one transparent colour, or bytes
    with the alphas of the first colours.

    Raises InputError for indices beyond the palette.
    """
    if indices.size and indices.max() >= len(colours):
        raise InputError(f"has pixels of colour {indices.max()}, its palette holds {len(colours)} colours: repair it")
    if alphas is None:
        return PixelValues(colours[indices])
    table = np.full(256, 255, np.uint8)
    if isinstance(alphas, bytes):
        table[: len(alphas)] = np.frombuffer(alphas[:256], np.uint8)
    else:
        table[alphas] = 0
    return PixelValues(colours[indices], table[indices])


def from_pillow(image: Image.Image) -> PixelValues:
    """Returns the pixels of a loaded image of 8 bits: "1", "L", "LA", "RGB", "RGBA" or "CMYK"."""
    if image.mode == "1":
        return PixelValues(np.asarray(image.convert("L")))
    values = np.asarray(image)
    return with_last_as_alpha(values) if image.mode in ("LA", "RGBA") else PixelValues(values)


def with_last_as_alpha(values: NDArray[Any], maximum: int = 255, *, premultiplied: bool = False) -> PixelValues:
    """Returns values [H, W, 2 or 4], whose last channel is alpha, as grey or RGB with alpha."""
    colour = values[:, :, 0] if values.shape[2] == 2 else values[:, :, :3]
    return PixelValues(colour, values[:, :, -1], maximum, premultiplied)


def with_transparent_colour(colour: NDArray[Any], transparent: NDArray[Any], maximum: int = 255) -> PixelValues:
    """Returns pixels with alpha 0 where they equal the colour ``transparent``, opaque elsewhere."""
    equal = colour == transparent
    return PixelValues(colour, np.where(equal if colour.ndim == 2 else equal.all(2), 0, maximum), maximum)


def has_srgb_primaries(primaries: Sequence[float]) -> bool:
    """Returns whether x and y of white, red, green and blue are those of sRGB, up to invisible differences."""
    return len(primaries) == 8 and all(abs(a - b) < 0.01 for a, b in zip(primaries, SRGB, strict=True))


def _scale_to_255(values: NDArray[Any], maximum: Any) -> NDArray[np.uint8]:
    """Returns values from 0 to ``maximum`` scaled to 0 to 255 and rounded to the nearest integer."""
    if isinstance(maximum, int) and maximum == 255:
        return values.astype(np.uint8)
    doubled = values.astype(np.uint32) * 510
    rounded: NDArray[np.uint8] = ((doubled + maximum) // (np.uint32(2) * maximum)).astype(np.uint8)
    return rounded


def _to_pillow(values: NDArray[np.uint8], mode: str) -> Image.Image:
    return Image.frombytes(mode, values.shape[1::-1], values.tobytes())
