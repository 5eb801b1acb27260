"""Writing of animations: pictures of one size, one after the other, in a file that repeats them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image, features

from latentloop.errors import InputError, short_repr
from latentloop.images.writing import Images, picture_of, shape_of
from latentloop.io.arguments import check_iterable, is_integer, path_of
from latentloop.io.files import write_file

MAX_VALUES = 2**30  # of all frames: Pillow holds them at once, three values in four bytes
SHORTEST, LONGEST = 20, 60_000  # milliseconds of a frame: programs show shorter ones more slowly; PNG has 16 bits
FRAME_MS, HOLD_MS = 100, 2000

# By suffix: the longest side in pixels, and Pillow's format and options. Of images of the default bundle as they are
# drawn, lossless WebP needs 4.5 times the space of quality 90, PNG 7 times: PNG is there for exact pixels.
_FORMATS: dict[str, tuple[int, str, dict[str, Any]]] = {
    ".webp": (16383, "WEBP", {"quality": 90, "method": 4}),
    ".gif": (65535, "GIF", {}),
    ".png": (2**31 - 1, "PNG", {}),
}


def check_animation_path(path: Path, shape: tuple[int, int, int] | None = None, frames: int = 1) -> None:
    """Raises InputError if an animation (of that many pictures of ``shape`` [H, W, C]) cannot be written under that
    name.
    """
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        raise InputError(f"{path} ends in {path.suffix!r}, expected an animation's suffix: {', '.join(_FORMATS)}")
    if suffix == ".webp" and not features.check("webp"):
        raise InputError(f"{path}: this Pillow was built without WebP, use .png")
    if shape is None:
        return
    size, limit = f"{frames} frames of {shape[0]} x {shape[1]} pixels", _FORMATS[suffix][0]
    if max(shape) > limit:
        raise InputError(f"{path} would have {size}, {suffix} holds {limit} at most: use .png, or smaller images")
    if frames * math.prod(shape) > MAX_VALUES:
        raise InputError(
            f"{path} would have {size}, {frames * math.prod(shape)} values, and memory must hold them all, at most "
            f"{MAX_VALUES}: animate fewer images, or smaller ones"
        )


def write_animation(
    path: str | Path,
    frames: Iterable[Images],
    *,
    frame_ms: int = FRAME_MS,
    hold_ms: int = HOLD_MS,
    force: bool = False,
) -> None:
    """Writes pictures, each uint8 [H, W, C] of the same shape, as an animation that repeats, in the format of the
    suffix: .webp (lossy, of high quality), .gif (256 colours, times in steps of 10 ms) or .png (lossless).

    Each is shown for ``frame_ms`` milliseconds, the last one for ``hold_ms``, 20 to 60000. ``force`` replaces a file.
    Programs that show no animations of a format show the first picture. Pictures in a row that are equal become one.

    Raises InputError or OutputError; then nothing is left behind.
    """
    path = path_of("path", path, "the file to write")
    check_iterable("frames", frames, "arrays [H, W, C]")
    pictures = list(frames)
    for name, value in (("frame_ms", frame_ms), ("hold_ms", hold_ms)):
        if not is_integer(value) or not SHORTEST <= value <= LONGEST:
            raise InputError(f"{name} is {short_repr(value)}, expected milliseconds from {SHORTEST} to {LONGEST}")
    if not pictures:
        raise InputError("frames are empty, expected at least one picture")
    shapes = [shape_of(picture) for picture in pictures]
    for number, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise InputError(f"frame {number} has shape {list(shape)}, expected {list(shapes[0])} as frame 0")
    check_animation_path(path, shapes[0], len(pictures))
    durations = [int(frame_ms)] * (len(pictures) - 1) + [int(hold_ms)]  # Pillow refuses NumPy's integers
    write_file(
        path, lambda temporary: _save(temporary, [picture_of(each) for each in pictures], durations), force=force
    )


def _save(path: Path, pictures: list[Image.Image], durations: list[int]) -> None:
    _, name, options = _FORMATS[path.suffix.lower()]
    first, *others = pictures
    if not others:  # Pillow takes a list of durations only for several
        first.save(path, name, **options)
        return
    first.save(path, name, save_all=True, append_images=others, duration=durations, loop=0, **options)
