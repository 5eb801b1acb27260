"""GIF: the part of the screen that the image does not cover is transparent."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL.ImageFile import ImageFile

from latentloop.errors import InputError
from latentloop.images.formats.pixel_values import (
    PixelValues,
    apply_palette,
    palette_colours,
    palette_size,
    with_transparent_colour,
)


def read_pixels(image: ImageFile) -> PixelValues:
    """Returns the pixels with their transparency. Raises InputError if the palette is missing or too small."""
    box: Any = image.tile[0][1]
    left, top, right, bottom = box
    transparent = image.info.get("transparency")
    size = palette_size(image) if image.mode == "P" else 0
    if not size and "background" not in image.info and getattr(image, "_frame_palette", None) is None:
        raise InputError("has no palette for its pixels: repair it")  # otherwise a grey ramp, the identity
    covered = np.asarray(image)[top:bottom, left:right]
    if size:
        pixels = apply_palette(covered, palette_colours(image, size), transparent)
    elif transparent is None:
        pixels = PixelValues(covered)
    else:
        pixels = with_transparent_colour(covered, np.array(transparent))
    if box == (0, 0, *image.size):
        return pixels
    colour = np.zeros((image.height, image.width, *pixels.colour.shape[2:]), np.uint8)
    alpha = np.zeros((image.height, image.width), np.uint8)
    colour[top:bottom, left:right] = pixels.colour
    alpha[top:bottom, left:right] = 255 if pixels.alpha is None else pixels.alpha
    return PixelValues(colour, alpha)
