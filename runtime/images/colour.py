"""Pixels to sRGB through the colour profile (ICC) of their file.

The rendering intent is perceptual. Pixels of a profile that is sRGB in all but name stay bit-identical: conversions
between two versions of sRGB would move them by rounding.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from latentloop.errors import InputError

SAME = 2  # levels of 255; a profile that moves no colour by more is taken for sRGB
STEEP = 4  # levels between neighbours of 255; a profile over this needs more than 8 bits of its pixels

_SPACES = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}


@dataclass(frozen=True)
class _Conversion:
    transform: Any  # None where the profile is sRGB
    steepest: int


def to_srgb(picture: Image.Image, profile: object, *, deep: bool = False) -> Image.Image:
    """``picture`` ("L", "RGB" or "CMYK") as sRGB: "L" or "RGB". Grey with an RGB profile means equal R, G and B.

    ``deep`` says that the pixels were rounded from more than 8 bits. Raises InputError, without the file's name, for
    a profile that cannot be used with such pixels.
    """
    if not isinstance(profile, bytes) or not profile:
        raise InputError("has a damaged colour profile (ICC): replace or remove it")
    try:
        space, conversion = _conversion(profile)
    except ImportError as error:
        raise InputError(f"has a colour profile, which this Pillow cannot use ({error}): convert it to sRGB") from None
    except Exception as error:  # a hostile profile can fail in many ways, all of which mean the same
        raise InputError(f"has a colour profile (ICC) that cannot be used ({error}): replace or remove it") from None
    mode = _SPACES[space]
    if picture.mode == "L" and mode == "RGB":
        grey, picture = True, picture.convert("RGB")
    else:
        grey = mode == "L"
    if picture.mode != mode:
        raise InputError(f"has {picture.mode} pixels and a colour profile for {space}: replace or remove it")
    if conversion.transform is None:
        return picture.getchannel(0) if grey else picture
    if deep and conversion.steepest > STEEP:
        raise InputError("has 16 bits and a profile that needs them (it is nearly linear): convert it to sRGB first")
    converted: Image.Image = conversion.transform.apply(picture)
    return converted.getchannel(0) if mode == "L" else converted


@lru_cache(maxsize=8)
def _conversion(profile: bytes) -> tuple[str, _Conversion]:
    """The profile's colour space, and how to leave it for sRGB."""
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
    moved = np.asarray(transform.apply(greys), np.int64)
    steepest = int(np.abs(np.diff(moved, axis=1)).max())
    if mode == "CMYK":
        return space, _Conversion(transform, steepest)
    differences = [np.abs(moved - ramp[None, :, None]).max()]
    if mode == "RGB":
        levels = ramp[::15]
        lattice = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, 3)
        differences.append(np.abs(np.asarray(transform.apply(Image.fromarray(lattice)), np.int64) - lattice).max())
    return space, _Conversion(None if max(differences) <= SAME else transform, steepest)
