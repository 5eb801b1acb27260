"""A picture in the terminal of the images being drawn, which is drawn again in its place after every row."""

from __future__ import annotations

import os
import sys
from typing import TextIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from latentloop.cli.watching.half_blocks import RESET, UPPER, Colours, Pixels, colours_of, lines_of
from latentloop.errors import InputError
from latentloop.images.writing import Images
from latentloop.sampling.results import Progress

NARROWEST, LOWEST = 20, 6  # columns and lines of a terminal
LARGEST = 256  # pixels of a picture's height and width: what a huge window would cost after every row is not worth it
SMALLEST = 8  # pixels, of the longer side of an image; of more images only the first are shown
HIDE_CURSOR, SHOW_CURSOR, ERASE_LINE, ERASE_BELOW = "\x1b[?25l", "\x1b[?25h", "\x1b[K", "\x1b[J"
UNKNOWN_SIZE = os.terminal_size((80, 24))


class Screen:
    """A picture in a terminal.

    The cursor is hidden while a picture is written, and visible below it in between: however the program ends, there
    is nothing to restore.
    """

    def __init__(self, stream: TextIO, colours: Colours | None) -> None:
        self._stream, self._colours = stream, colours
        self._lines = 0  # of the picture above the cursor
        self._size = UNKNOWN_SIZE  # of the terminal when that was written
        self._last: Progress | None = None  # what that shows
        self._remark = ""  # at the end of its status line
        self._is_broken = False

    @staticmethod
    def required() -> Screen:
        """Returns a picture on stderr. Raises InputError if that is not a terminal that can show it."""
        stream, remedy = sys.stderr, "leave --show out, --animate writes a file"
        if stream is None or not stream.isatty():
            raise InputError(f"--show draws in a terminal, but stderr is none: {remedy}")
        if os.environ.get("TERM", "dumb") == "dumb":
            raise InputError(
                f"--show moves the cursor, which a terminal without TERM, or TERM=dumb, cannot do: {remedy}"
            )
        try:
            UPPER.encode(stream.encoding)
        except UnicodeEncodeError:
            raise InputError(f"--show draws {UPPER!a}, which {stream.encoding} lacks: set LC_ALL=C.UTF-8") from None
        size = _size_of(stream)
        if size.columns < NARROWEST or size.lines < LOWEST:
            raise InputError(
                f"the terminal has {size.columns} columns and {size.lines} lines, --show needs {NARROWEST} and "
                f"{LOWEST}: enlarge the window, or leave --show out"
            )
        return Screen(stream, colours_of(os.environ))

    def show(self, progress: Progress) -> None:
        """Shows the images so far of the current batch in place of the picture before. Call it in the callback."""
        if self._is_broken:
            return
        size, images = _size_of(self._stream), progress.preview()
        pixels, inside, shown = arranged(images, min(2 * (size.lines - 2), LARGEST), min(size.columns - 1, LARGEST))
        self._last, self._remark = progress, f", {shown} of {len(images)} shown" if shown < len(images) else ""
        status = self._status(progress, progress.images_done, size.columns)
        lines = [*lines_of(pixels, inside, self._colours), status]
        up = ""
        if self._lines and size == self._size:  # in a window of another size the lines have wrapped: start below them
            up = f"\x1b[{self._lines}A{ERASE_BELOW if self._lines != len(lines) else ''}"
        self._lines, self._size = len(lines), size
        self._write(f"{HIDE_CURSOR}\r{up}" + "".join(f"{line}{ERASE_LINE}\n" for line in lines) + SHOW_CURSOR)

    def finish(self, done: int) -> None:
        """Writes the status line again with the number of images that are finished after the run: while the last batch
        was drawn, its images were not. Call it once, after the run.
        """
        if self._last is None or self._is_broken or done == self._last.images_done:
            return
        size = _size_of(self._stream)
        up = "\x1b[1A" if size == self._size else ""
        self._write(f"\r{up}{self._status(self._last, done, size.columns)}{ERASE_LINE}\n")

    def _status(self, progress: Progress, done: int, columns: int) -> str:
        status = (
            f"{progress.level}: row {progress.rows_done} of {progress.rows_total}, "
            f"{done} of {progress.images_total} images finished{self._remark}"
        )
        return status[: columns - 1]

    def _write(self, text: str) -> None:
        try:
            try:
                self._stream.flush()
                _write_all(self._stream.fileno(), text.encode(self._stream.encoding))
            except KeyboardInterrupt:  # a second Ctrl-C in the middle of a picture
                _write_all(self._stream.fileno(), f"{RESET}{SHOW_CURSOR}\n".encode())
                raise
        except OSError:  # a terminal that is closed is no reason to stop
            self._is_broken = True


def _write_all(descriptor: int, data: bytes) -> None:
    """Writes all bytes: a signal can end a single call early, and an unbuffered stream (python -u) loses the rest."""
    while data:
        data = data[os.write(descriptor, data) :]


def arranged(images: Images, height: int, width: int) -> tuple[Pixels, NDArray[np.bool_], int]:
    """Arranges images [N, H, W, C] in at most ``height`` x ``width`` pixels, as large as possible, with gaps of one.

    Smaller images are the averages of their pixels, larger ones are enlarged by whole numbers. Returns the pixels
    [h, w, 3], which of them are inside of images [h, w], and the number of images: the first ones, if all would be
    smaller than 8 pixels.
    """
    n, image_height, image_width, _ = images.shape
    least = min(1.0, SMALLEST / max(image_height, image_width))
    fit = [
        (size + 1) // (max(1, round(least * side)) + 1) for size, side in ((height, image_height), (width, image_width))
    ]
    n = max(1, min(n, fit[0] * fit[1]))
    scale, columns = max(
        (_scale((image_height, image_width), (height, width), n, each), each) for each in range(1, n + 1)
    )
    shape = max(1, int(image_height * scale)), max(1, int(image_width * scale))
    rows = -(-n // columns)
    pixels = np.zeros((rows * (shape[0] + 1) - 1, columns * (shape[1] + 1) - 1, 3), np.uint8)
    inside = np.zeros(pixels.shape[:2], bool)
    for index, image in enumerate(images[:n]):
        top, left = (index // columns) * (shape[0] + 1), (index % columns) * (shape[1] + 1)
        cell = np.s_[top : top + shape[0], left : left + shape[1]]
        colour = Image.fromarray(np.broadcast_to(image, (image_height, image_width, 3)))
        pixels[cell], inside[cell] = np.asarray(colour.resize(shape[::-1], Image.Resampling.BOX)), True
    return pixels, inside, n


def _scale(image: tuple[int, int], space: tuple[int, int], n: int, columns: int) -> float:
    """Returns the factor by which n images of (H, W) fit into a space of (h, w) pixels, with so many in a row; 0 if a
    side of an image would have no pixel.
    """
    counts = -(-n // columns), columns
    cell = [(size - count + 1) / count for size, count in zip(space, counts, strict=True)]
    scale = min(cell[0] / image[0], cell[1] / image[1]) if min(cell) >= 1 else 0.0
    return float(int(scale)) if scale >= 1 else scale


def _size_of(stream: TextIO) -> os.terminal_size:
    try:
        size = os.get_terminal_size(stream.fileno())
    except OSError:
        return UNKNOWN_SIZE
    return size if all(size) else UNKNOWN_SIZE
