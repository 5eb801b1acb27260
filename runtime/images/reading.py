"""Image files to arrays, a few at a time, and what is wrong with those that cannot be read."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from latentloop.errors import InputError
from latentloop.images.decoding import decode
from latentloop.images.formats.pixel_values import FORMATS
from latentloop.images.formats.tiff import is_tiff
from latentloop.images.problems import Problem, shown, some

THREADS = 4  # decoders at once at most: each holds a whole picture, perhaps of 89 megapixels
_LIGHT = 2**16  # bytes a file, on average
_AT_ONCE = 16  # files that are decoded before the first of them is given out


@dataclass(frozen=True)
class Read:
    """A file's pixels, uint8 [H, W, C], or why there are none; perhaps what to say of the file."""

    file: Path
    pixels: NDArray[np.uint8] | None
    problem: Problem | None
    note: str | None


def read_each(
    files: Sequence[Path], image: tuple[int, int, int], *, resize: bool, threads: int | None = None
) -> Iterator[Read]:
    """The files in their order, at the size ``image`` = (H, W, C); a few are held at a time, however many there are.

    ``threads`` decode at once, ``THREADS`` at most.
    """
    read = partial(_read, image=image, resize=resize)
    with ThreadPoolExecutor(min(threads or os.cpu_count() or 1, THREADS, max(1, len(files)))) as pool:
        for start in range(0, len(files), _AT_ONCE):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                part = files[start : start + _AT_ONCE]
                reads = list((pool.map if _is_heavy(part) else map)(read, part))
            yield from reads


def collect(
    reads: Iterable[Read], count: int, image: tuple[int, int, int]
) -> tuple[NDArray[np.uint8], list[Problem], list[str]]:
    """The pixels of ``count`` files, uint8 [count, H, W, C], the problems of those without any, and lines to tell."""
    pixels = np.empty((count, *image), np.uint8)
    problems, notes = [], []
    for index, read in enumerate(reads):
        if read.pixels is not None:
            pixels[index] = read.pixels
        if read.problem:
            problems.append(read.problem)
        if read.note:
            notes.append((read.file, read.note))
    return pixels, problems, noted(notes)


def noted(reads: Sequence[tuple[Path, str]]) -> list[str]:
    """What to say of files, in one line for all of which the same is said."""
    files: dict[str, list[Path]] = {}
    for file, note in reads:
        files.setdefault(note, []).append(file)
    return [f"{some(map(shown, those))} {note}" for note, those in files.items()]


def _is_heavy(files: Sequence[Path]) -> bool:
    """Whether decoding takes longer than handing files to threads does."""
    size = 0
    for file in files:
        with contextlib.suppress(OSError):
            size += os.stat(file).st_size
    return size > _LIGHT * len(files)


def _read(file: Path, image: tuple[int, int, int], resize: bool) -> Read:
    try:
        picture, note = decode(file, "L" if image[2] == 1 else "RGB")
        return Read(file, _fit(picture, image, resize), None, note)
    except InputError as error:
        reason = str(error)
    except UnidentifiedImageError:
        reason = _undecoded(file)
    except OSError as error:
        text = error.strerror or " ".join(str(error).split())
        reason = f"cannot be read: {text}" if error.errno else _undecoded(file, text)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        reason = f"cannot be read as an image: {error}"
    except Exception as error:  # a hostile file can fail in many ways, all of which mean the same
        reason = _undecoded(file, " ".join(str(error).split()) or type(error).__name__)
    return Read(file, None, Problem(file, reason), None)


def _undecoded(file: Path, text: str = "") -> str:
    """Why Pillow gives no pixels: ``text`` is what it says, where it knows the kind of file."""
    if text and ("truncated" in text or not is_tiff(file)):
        return f"cannot be read as an image: {text}"
    kind = f"not of a kind that is read, of {', '.join(FORMATS)}"
    if is_tiff(file):
        kind = "a kind of TIFF that Pillow does not read: save it as a plain TIFF of 8 or 16 bits a value, or as PNG"
    return f"cannot be read as an image{text and f' ({text})'}: it is damaged, or {kind}"


def _fit(picture: Image.Image, image: tuple[int, int, int], resize: bool) -> NDArray[np.uint8]:
    height, width, channels = image
    if picture.size != (width, height):
        if not resize:
            raise InputError(
                f"has {picture.height} x {picture.width} pixels (height x width), expected {height} x {width}; "
                "--resize crops the centre and resizes"
            )
        picture = ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)
    pixels: NDArray[np.uint8] = np.asarray(picture, np.uint8).reshape(height, width, channels)
    return pixels
