"""Conversion of pixels to sRGB by the colour profile (ICC) of their file.

The rendering intent is perceptual. Pixels stay bit-identical if the profile is a version of sRGB: a conversion between
two versions would change them by rounding.
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from latentloop.errors import InputError

SRGB_TOLERANCE = 2  # levels of 255; a profile that changes no colour by more counts as sRGB
LARGEST_STEP = 4  # levels of 255 between neighbouring greys; a profile with a larger step needs more than 8 bits

_SPACES = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}


def to_srgb(image: Image.Image, profile: object, *, rounded: bool = False) -> Image.Image:
    """Returns an "L", "RGB" or "CMYK" image in sRGB, as "L" or "RGB". Grey with an RGB profile means equal R, G and B.

    ``rounded``: whether the pixels were rounded from more than 8 bits. Raises InputError, without the file's name, for
    a profile that cannot be used with these pixels.
    """
    if not isinstance(profile, bytes) or not profile:
        raise InputError("has a damaged colour profile (ICC): replace or remove it")
    try:
        space, transform, largest_step = _conversion(profile)
    except ImportError as error:
        raise InputError(f"has a colour profile, which this Pillow cannot use ({error}): convert it to sRGB") from None
    except Exception as error:  # a hostile profile can fail in many ways, all with the same meaning
        raise InputError(f"has a colour profile (ICC) that cannot be used ({error}): replace or remove it") from None
    mode = _SPACES[space]
    grey = image.mode == "L"
    if grey and mode == "RGB":
        image = image.convert("RGB")
    if image.mode != mode:
        raise InputError(f"has {image.mode} pixels and a colour profile for {space}: replace or remove it")
    if transform is None:
        return image.getchannel(0) if grey else image
    if rounded and largest_step > LARGEST_STEP:
        raise InputError("has 16 bits and a profile that needs them (it is nearly linear): convert it to sRGB first")
    converted: Image.Image = transform.apply(image)
    return converted.getchannel(0) if mode == "L" else converted


@lru_cache(maxsize=8)
def _conversion(profile: bytes) -> tuple[str, Any, int]:
    """Returns the profile's colour space, its conversion to sRGB (None for a version of sRGB), and the largest step of
    the conversion between neighbouring greys.
    """
    from PIL import ImageCms

    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    space = source.profile.xcolor_space.strip()
    if space not in _SPACES:
        raise ValueError(f"it is for {space}")
    mode = _SPACES[space]
    target = ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(source, target, mode, "RGB", ImageCms.Intent.PERCEPTUAL)
    ramp = np.arange(256, dtype=np.uint8)
    bands = len(Image.new(mode, (1, 1)).getbands())
    greys = Image.merge(mode, [Image.fromarray(ramp[None])] * bands)
    converted = np.asarray(transform.apply(greys), np.int64)
    largest_step = int(np.abs(np.diff(converted, axis=1)).max())
    if mode == "CMYK":
        return space, transform, largest_step
    changes = [np.abs(converted - ramp[None, :, None]).max()]
    if mode == "RGB":
        levels = ramp[::15]
        lattice = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, 3)
        changes.append(np.abs(np.asarray(transform.apply(Image.fromarray(lattice)), np.int64) - lattice).max())
    return space, None if max(changes) <= SRGB_TOLERANCE else transform, largest_step
