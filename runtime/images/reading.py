"""Reading of many image files into arrays, a few at a time."""

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

from latentloop.errors import InputError, listed, printable
from latentloop.images.decoding import decode
from latentloop.images.formats.pixel_values import FORMATS
from latentloop.images.formats.tiff import is_tiff
from latentloop.images.idx import IdxImage, pad_evenly
from latentloop.images.problems import Problem, Source

MAX_THREADS = 4  # each decoder holds a whole image in memory, of up to 89 megapixels
_SMALL_FILE = 2**16  # bytes
_READ_AHEAD = 16  # files that are decoded before the first of them is yielded


@dataclass(frozen=True, eq=False)
class ReadResult:
    """A file's pixels, uint8 [H, W, C], or the problem with it; and a note on the file for the user, if any.

    ``original_size``: (height, width) of the image before it was resized, None for a file with a problem.
    """

    file: Source
    pixels: NDArray[np.uint8] | None
    problem: Problem | None
    note: str | None
    original_size: tuple[int, int] | None = None


def read_each(
    files: Sequence[Source], image: tuple[int, int, int], *, resize: bool, threads: int | None = None
) -> Iterator[ReadResult]:
    """Reads the files in order, at the size ``image`` = (H, W, C). Only a few are in memory at a time.

    Decodes with ``threads`` threads, at most ``MAX_THREADS``.
    """
    read = partial(_read, image=image, resize=resize)
    with ThreadPoolExecutor(min(threads or os.cpu_count() or 1, MAX_THREADS, max(1, len(files)))) as pool:
        for start in range(0, len(files), _READ_AHEAD):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                part = files[start : start + _READ_AHEAD]
                results = list((pool.map if _threads_pay(part) else map)(read, part))
            yield from results


def collect(
    results: Iterable[ReadResult], count: int, image: tuple[int, int, int]
) -> tuple[NDArray[np.uint8], list[Problem], list[str]]:
    """Returns the pixels of ``count`` files, uint8 [count, H, W, C], the problems, and lines with notes for the user.

    The pixels of files with problems are undefined.
    """
    pixels = np.empty((count, *image), np.uint8)
    problems, notes = [], []
    for index, result in enumerate(results):
        if result.pixels is not None:
            pixels[index] = result.pixels
        if result.problem:
            problems.append(result.problem)
        if result.note:
            notes.append((result.file, result.note))
    return pixels, problems, merge_notes(notes)


def merge_notes(notes: Sequence[tuple[Source, str]]) -> list[str]:
    """Returns a line for each distinct note, with all files that it applies to."""
    files_by_note: dict[str, list[Source]] = {}
    for file, note in notes:
        files_by_note.setdefault(note, []).append(file)
    return [f"{listed(map(printable, files))} {note}" for note, files in files_by_note.items()]


def _threads_pay(files: Sequence[Source]) -> bool:
    """Returns whether decoding takes longer than passing the files to threads."""
    size = 0
    for file in files:
        if isinstance(file, IdxImage):
            continue
        with contextlib.suppress(OSError):
            size += os.stat(file).st_size
    return size > _SMALL_FILE * len(files)


def _read(file: Source, image: tuple[int, int, int], resize: bool) -> ReadResult:
    if isinstance(file, IdxImage):
        return _read_idx(file, image)
    try:
        decoded, note = decode(file, "L" if image[2] == 1 else "RGB")
        return ReadResult(file, _at_size(decoded, image, resize), None, note, (decoded.height, decoded.width))
    except InputError as error:
        reason = str(error)
    except UnidentifiedImageError:
        reason = _decoding_failure(file)
    except OSError as error:
        text = error.strerror or " ".join(str(error).split())
        reason = f"cannot be read: {text}" if error.errno else _decoding_failure(file, text)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        reason = f"cannot be read as an image: {error}"
    except Exception as error:  # a hostile file can fail in many ways, all with the same meaning
        reason = _decoding_failure(file, " ".join(str(error).split()) or type(error).__name__)
    return ReadResult(file, None, Problem(file, reason), None)


def _read_idx(source: IdxImage, image: tuple[int, int, int]) -> ReadResult:
    try:
        pixels = source.file.read(source.index)
    except (InputError, OSError) as error:
        return ReadResult(source, None, Problem(source, str(error)), None)
    return ReadResult(source, pad_evenly(pixels[None], *image[:2])[0], None, None)


def _decoding_failure(file: Path, text: str = "") -> str:
    """Returns the reason why Pillow cannot decode the file. ``text`` is Pillow's error, if it recognised the format."""
    if text and ("truncated" in text or not is_tiff(file)):
        return f"cannot be read as an image: {text}"
    if file.suffix == ".npz":
        return "cannot be read as an image: it is an archive of NumPy arrays; `latentloop decode` makes images of codes"
    reason = f"not in a supported format ({', '.join(FORMATS)})"
    if is_tiff(file):
        reason = "a kind of TIFF that Pillow does not read: save it as a plain TIFF of 8 or 16 bits a value, or as PNG"
    return f"cannot be read as an image{text and f' ({text})'}: it is damaged, or {reason}"


def _at_size(decoded: Image.Image, image: tuple[int, int, int], resize: bool) -> NDArray[np.uint8]:
    """Returns the pixels at the size ``image``. Raises InputError for another size if ``resize`` is off."""
    height, width, channels = image
    if decoded.size != (width, height):
        if not resize:
            raise InputError(
                f"has {decoded.height} x {decoded.width} pixels (height x width), expected {height} x {width}; "
                "--resize crops the centre and resizes"
            )
        decoded = ImageOps.fit(decoded, (width, height), Image.Resampling.LANCZOS)
    pixels: NDArray[np.uint8] = np.asarray(decoded, np.uint8).reshape(height, width, channels)
    return pixels
