"""TIFF: layouts that Pillow misreads, and tags that it ignores."""

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
    PixelValues,
    apply_palette,
    decode_raw,
    from_pillow,
    has_srgb_primaries,
    join_bytes,
    raw_mode,
    with_last_as_alpha,
)

# Tags.
_SUBFILE, _OLD_SUBFILE, _BITS, _PHOTOMETRIC, _SAMPLES, _PLANAR, _COLORMAP = 254, 255, 258, 262, 277, 284, 320
_WHITE, _PRIMARIES, _PROFILE = 318, 319, 34675
_INK_SET, _EXTRA, _FORMAT, _COEFFICIENTS, _SUBSAMPLING, _REFERENCE = 332, 338, 339, 529, 530, 532

_WHITE_IS_ZERO, _RGB, _SEPARATED, _YCBCR, _LAB = 0, 2, 5, 6, 8  # values of PhotometricInterpretation
_SAMPLE_FORMATS = {2: "signed", 3: "floating-point", 4: "undefined", 5: "complex", 6: "complex"}


def read_pixels(file: Path, image: ImageFile) -> PixelValues:
    """Returns the pixels with their transparency. Raises InputError for kinds without a definite meaning in sRGB."""
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    photometric = _check_tags(tags)
    raw, mode = raw_mode(image), image.mode
    by_libtiff = image.tile[0][0] == "libtiff"
    if ";16" in raw and mode not in ("I;16", "I;16B"):
        return _join_16_bits(file, raw, sys.byteorder == "little" if by_libtiff else tags.prefix[:1] == b"I")
    if mode in ("I;16", "I;16B"):
        maximum = 4095 if raw.startswith("I;12") else 65535
        values = np.asarray(image, np.uint16)
        return PixelValues(maximum - values if photometric == _WHITE_IS_ZERO else values, maximum=maximum)
    if mode in ("P", "PA"):
        indices = np.asarray(image)
        if mode == "P":
            return apply_palette(indices, _palette(tags))
        return PixelValues(apply_palette(indices[:, :, 0], _palette(tags)).colour, indices[:, :, 1])
    if mode == "La":
        return with_last_as_alpha(np.asarray(image), premultiplied=True)
    if raw.startswith("RGBa"):
        return with_last_as_alpha(decode_raw(file, raw.replace("a", "A")), premultiplied=True)
    if photometric == _YCBCR and not by_libtiff and mode != "YCbCr":
        raise InputError("has YCbCr pixels that are not compressed, which Pillow before 13 misreads: upgrade Pillow")
    if mode == "YCbCr":
        _check_ycbcr(tags)
        return from_pillow(image.convert("RGB"))
    if mode not in ("1", "L", "LA", "RGB", "RGBA", "CMYK"):
        raise InputError(f"has pixels of the mode {mode}, expected grey, RGB, CMYK or a palette: convert it first")
    return from_pillow(image)


def is_tiff(file: Path) -> bool:
    """Returns whether the file can be opened and begins like a TIFF or BigTIFF."""
    try:
        with file.open("rb") as content:
            return content.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
    except OSError:
        return False


def is_reduced_copy(tags: Any) -> bool:
    """Returns whether the tags declare the page a smaller copy of another page."""
    return bool(tags.get(_SUBFILE, 0) & 1) or tags.get(_OLD_SUBFILE) == 2


def _check_tags(tags: Any) -> int:
    """Returns the PhotometricInterpretation. Raises InputError for values that cannot be read as sRGB."""
    photometric = tags.get(_PHOTOMETRIC)
    if photometric is None:
        raise InputError("does not say what its values mean (tag PhotometricInterpretation): repair it")
    kinds = {int(kind) for kind in tags.get(_FORMAT, (1,))} - {1}
    if kinds:
        kind = _SAMPLE_FORMATS.get(min(kinds), "unknown")
        raise InputError(f"has {kind} pixels, expected unsigned integers of up to 16 bits: convert it first")
    if max(tags.get(_BITS, (1,))) > 16:
        raise InputError(f"has {max(tags[_BITS])} bits a value, expected up to 16: convert it first")
    if tags.get(_PLANAR, 1) == 2 and tags.get(_SAMPLES, 1) > 1:
        extra = tuple(tags.get(_EXTRA, ()))
        known = set(extra) in ({0}, {2}) or (not extra and tags[_SAMPLES] == 3)
        if photometric != _RGB or max(tags[_BITS]) > 8 or not known:
            raise InputError("stores its channels apart, which can be read for 8-bit RGB only: store them interleaved")
    if photometric == _LAB:
        raise InputError("has Lab pixels, expected grey, RGB, CMYK or a palette: convert it to sRGB")
    if photometric == _SEPARATED and tags.get(_INK_SET, 1) != 1:
        raise InputError("has other inks than CMYK: convert it to sRGB")
    if _PRIMARIES in tags and _PROFILE not in tags:
        white = tags.get(_WHITE, SRGB[:2])
        if not has_srgb_primaries([float(value) for value in (*white, *tags[_PRIMARIES])]):
            raise InputError("has other primaries than sRGB (tag PrimaryChromaticities): convert it to sRGB")
    return int(photometric)


def _join_16_bits(file: Path, raw: str, little_endian: bool) -> PixelValues:
    """Returns the pixels, decoded twice: raw mode ;16B gives the first byte of each value, ;16L the second."""
    kind = raw.split(";")[0]
    straight = kind.replace("a", "A")
    first, second = decode_raw(file, f"{straight};16B"), decode_raw(file, f"{straight};16L")
    values = join_bytes(second, first) if little_endian else join_bytes(first, second)
    if straight == "RGBA":
        return with_last_as_alpha(values, 65535, premultiplied=kind == "RGBa")
    return PixelValues(values, maximum=65535)


def _palette(tags: Any) -> NDArray[np.uint8]:
    """Returns the palette [n, 3]. Its values have 16 bits, but some programs write 8."""
    values = np.array(tags[_COLORMAP], np.uint32)
    if values.max(initial=0) > 255:
        values = (values + 128) // 257
    return values.astype(np.uint8).reshape(3, -1).T


def _check_ycbcr(tags: Any) -> None:
    """Raises InputError unless uncompressed YCbCr is what Pillow assumes: full-range BT.601, not subsampled."""
    as_assumed = (
        tuple(tags.get(_SUBSAMPLING, (2, 2))) == (1, 1)
        and np.allclose([float(v) for v in tags.get(_COEFFICIENTS, (0.299, 0.587, 0.114))], (0.299, 0.587, 0.114))
        and np.allclose([float(v) for v in tags.get(_REFERENCE, (0, 255, 128, 255, 128, 255))][::2], (0, 128, 128))
    )
    if not as_assumed:
        raise InputError("has YCbCr pixels of an uncommon kind: convert it to RGB, or compress it")
