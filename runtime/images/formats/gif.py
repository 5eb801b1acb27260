"""GIF: what the picture does not cover of its screen is transparent."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL.ImageFile import ImageFile

from latentloop.errors import InputError
from latentloop.images.formats.pixel_values import Samples, keyed, palette_size, pillow_palette, through_palette


def samples(image: ImageFile) -> Samples:
    """The pixels with their transparency. Raises InputError for a palette too small, or none."""
    box: Any = image.tile[0][1]
    left, top, right, bottom = box
    clear = image.info.get("transparency")
    size = palette_size(image) if image.mode == "P" else 0
    if not size and "background" not in image.info and getattr(image, "_frame_palette", None) is None:
        raise InputError("has no palette for its pixels: repair it")  # else the palette is grey, each index its own
    covered = np.asarray(image)[top:bottom, left:right]
    if size:
        found = through_palette(covered, pillow_palette(image, size), clear)
    else:
        found = Samples(covered) if clear is None else keyed(covered, np.array(clear))
    if box == (0, 0, *image.size):
        return found
    colour = np.zeros((image.height, image.width, *found.colour.shape[2:]), np.uint8)
    alpha = np.zeros((image.height, image.width), np.uint8)
    colour[top:bottom, left:right] = found.colour
    alpha[top:bottom, left:right] = 255 if found.alpha is None else found.alpha
    return Samples(colour, alpha)
