"""TIFF: what Pillow's reader takes for something else, and the tags that it passes over."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.ImageFile import ImageFile

from latentloop.errors import InputError
from latentloop.images.formats.pixel_values import (
    SRGB,
    Samples,
    has_srgb_primaries,
    plain,
    raw_mode,
    sixteen,
    through_palette,
    unpacked_as,
)

# Tags.
_SUBFILE, _OLD_SUBFILE, _BITS, _PHOTOMETRIC, _SAMPLES, _PLANAR, _COLORMAP = 254, 255, 258, 262, 277, 284, 320
_WHITE, _PRIMARIES, _PROFILE = 318, 319, 34675
_INK_SET, _EXTRA, _FORMAT, _COEFFICIENTS, _SUBSAMPLING, _REFERENCE = 332, 338, 339, 529, 530, 532

_YCBCR = 6  # a PhotometricInterpretation
_KINDS = {2: "signed", 3: "floating-point", 4: "undefined", 5: "complex", 6: "complex"}


def samples(file: Path, image: ImageFile) -> Samples:
    """The pixels with their transparency. Raises InputError for kinds that have no certain meaning as sRGB."""
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    photometric = _check(tags)
    raw, mode = raw_mode(image), image.mode
    packed = image.tile[0][0] == "libtiff"
    if ";16" in raw and mode not in ("I;16", "I;16B"):
        return _sixteen(file, raw, sys.byteorder == "little" if packed else tags.prefix[:1] == b"I")
    if mode in ("I;16", "I;16B"):
        top = 4095 if raw.startswith("I;12") else 65535
        values = np.asarray(image, np.uint16)
        return Samples(top - values if photometric == 0 else values, top=top)
    if mode in ("P", "PA"):
        indices = np.asarray(image)
        if mode == "P":
            return through_palette(indices, _colours(tags))
        return Samples(through_palette(indices[:, :, 0], _colours(tags)).colour, indices[:, :, 1])
    if mode == "La":
        grey = np.asarray(image)
        return Samples(grey[:, :, 0], grey[:, :, 1], premultiplied=True)
    if raw.startswith("RGBa"):
        colour = unpacked_as(file, raw.replace("a", "A"))
        return Samples(colour[:, :, :3], colour[:, :, 3], premultiplied=True)
    if photometric == _YCBCR and not packed and mode != "YCbCr":
        raise InputError("has YCbCr pixels that are not compressed, which Pillow before 13 misreads: upgrade Pillow")
    if mode == "YCbCr":
        _check_plain_ycbcr(tags)
        return plain(image.convert("RGB"))
    if mode not in ("1", "L", "LA", "RGB", "RGBA", "CMYK"):
        raise InputError(f"has pixels of the mode {mode}, expected grey, RGB, CMYK or a palette: convert it first")
    return plain(image)


def is_tiff(file: Path) -> bool:
    """Whether the file can be opened and begins as a TIFF or BigTIFF does."""
    try:
        with file.open("rb") as content:
            return content.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
    except OSError:
        return False


def is_reduced(tags: Any) -> bool:
    """Whether a page says that it is a smaller copy of another."""
    return bool(tags.get(_SUBFILE, 0) & 1) or tags.get(_OLD_SUBFILE) == 2


def _check(tags: Any) -> int:
    photometric = tags.get(_PHOTOMETRIC)
    if photometric is None:
        raise InputError("does not say what its values mean (tag PhotometricInterpretation): repair it")
    kinds = {int(kind) for kind in tags.get(_FORMAT, (1,))} - {1}
    if kinds:
        kind = _KINDS.get(min(kinds), "unknown")
        raise InputError(f"has {kind} pixels, expected unsigned integers of up to 16 bits: convert it first")
    if max(tags.get(_BITS, (1,))) > 16:
        raise InputError(f"has {max(tags[_BITS])} bits a value, expected up to 16: convert it first")
    if tags.get(_PLANAR, 1) == 2 and tags.get(_SAMPLES, 1) > 1:
        extra = tuple(tags.get(_EXTRA, ()))
        known = set(extra) in ({0}, {2}) or (not extra and tags[_SAMPLES] == 3)
        if photometric != 2 or max(tags[_BITS]) > 8 or not known:
            raise InputError("keeps its channels apart, which is read for RGB of 8 bits alone: store pixels together")
    if photometric == 8:
        raise InputError("has Lab pixels, expected grey, RGB, CMYK or a palette: convert it to sRGB")
    if photometric == 5 and tags.get(_INK_SET, 1) != 1:
        raise InputError("has other inks than CMYK: convert it to sRGB")
    if _PRIMARIES in tags and _PROFILE not in tags:
        white = tags.get(_WHITE, SRGB[:2])
        if not has_srgb_primaries([float(value) for value in (*white, *tags[_PRIMARIES])]):
            raise InputError("has other primaries than sRGB (tag PrimaryChromaticities): convert it to sRGB")
    return int(photometric)


def _sixteen(file: Path, raw: str, low_first: bool) -> Samples:
    kind = raw.split(";")[0]
    straight = kind.replace("a", "A")
    first, second = unpacked_as(file, f"{straight};16B"), unpacked_as(file, f"{straight};16L")
    values = sixteen(second, first) if low_first else sixteen(first, second)
    if straight == "RGBA":
        return Samples(values[:, :, :3], values[:, :, 3], 65535, premultiplied=kind == "RGBa")
    return Samples(values, top=65535)


def _colours(tags: Any) -> NDArray[np.uint8]:
    """The palette [n, 3]: 16 bits a value, but some programs write 8."""
    values = np.array(tags[_COLORMAP], np.uint32)
    if values.max(initial=0) > 255:
        values = (values + 128) // 257
    return values.astype(np.uint8).reshape(3, -1).T


def _check_plain_ycbcr(tags: Any) -> None:
    """Pillow reads YCbCr without compression as full-range BT.601 with a Cb and Cr for every pixel."""
    ordinary = (
        tuple(tags.get(_SUBSAMPLING, (2, 2))) == (1, 1)
        and np.allclose([float(v) for v in tags.get(_COEFFICIENTS, (0.299, 0.587, 0.114))], (0.299, 0.587, 0.114))
        and np.allclose([float(v) for v in tags.get(_REFERENCE, (0, 255, 128, 255, 128, 255))][::2], (0, 128, 128))
    )
    if not ordinary:
        raise InputError("has YCbCr pixels of an uncommon kind: convert it to RGB, or compress it")
