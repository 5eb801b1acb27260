"""JPEG and WebP files for tests: committed files of other programs, with markers and chunks added, and MPO files.

`images/` holds the committed files. libjpeg wrote, at quality 100 and in blocks of 8 x 8 pixels of one colour:
`ycbcr.jpg`, `rgb.jpg` (Adobe's marker, no transform), `grey.jpg`, `cmyk.jpg` and `ycck.jpg` (Adobe's markers,
inverted). cwebp and img2webp wrote, from pixels of a formula: `lossless.webp`, `alpha.webp`, `animated.webp`;
`lossy.webp` has one colour.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

IMAGES = Path(__file__).parent / "images"


def stored_image(name: str) -> bytes:
    return (IMAGES / name).read_bytes()


def segment(marker: int, content: bytes) -> bytes:
    """Returns a JPEG segment."""
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


def with_segments(jpeg: bytes, *segments: bytes) -> bytes:
    """Inserts segments after the first marker of a JPEG."""
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def without_segment(jpeg: bytes, marker: int) -> bytes:
    """Removes the first segment with this marker from a JPEG."""
    at = jpeg.index(bytes((0xFF, marker)))
    return jpeg[:at] + jpeg[at + 2 + struct.unpack(">H", jpeg[at + 2 : at + 4])[0] :]


def exif(orientation: int, order: str = ">") -> bytes:
    """Returns Exif data with an orientation only."""
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HI", 42, 8)
    return head + struct.pack(f"{order}HHHIHHI", 1, 274, 3, 1, orientation, 0, 0)


def icc_segments(profile: bytes, parts: int = 1) -> list[bytes]:
    size = -(-len(profile) // parts)
    cut = [profile[at : at + size] for at in range(0, len(profile), size)]
    return [segment(0xE2, b"ICC_PROFILE\0" + bytes((n + 1, len(cut))) + part) for n, part in enumerate(cut)]


def mpo(first: bytes, second: bytes, kind: int = 0) -> bytes:
    """Joins two JPEGs in an MPO file; ``kind`` is the type of the second image in CIPA DC-007."""
    entries = 16 * 2
    head = b"MM" + struct.pack(">HI", 42, 8) + struct.pack(">H", 3)
    head += struct.pack(">HHI", 0xB000, 7, 4) + b"0100" + struct.pack(">HHII", 0xB001, 4, 1, 2)
    head += struct.pack(">HHII", 0xB002, 7, entries, 8 + 2 + 36 + 4) + struct.pack(">I", 0)
    start = 2 + 4 + 4  # origin of the offsets: after SOI, marker, length and name
    size = len(first) + 4 + 4 + len(head) + entries
    table = struct.pack(">IIIHH", 0x030000, size, 0, 0, 0)
    table += struct.pack(">IIIHH", kind, len(second), size - start, 0, 0)
    return with_segments(first, segment(0xE2, b"MPF\0" + head + table)) + second


def webp(simple: bytes, chunks: Mapping[bytes, bytes], size: tuple[int, int]) -> bytes:
    """Returns a WebP of the extended format: the image of a ``simple`` WebP, with metadata."""
    flags = sum({b"ICCP": 32, b"EXIF": 8, b"XMP ": 4}[name] for name in chunks)
    head = bytes((flags, 0, 0, 0)) + b"".join(struct.pack("<I", side - 1)[:3] for side in size)

    def riff(name: bytes, content: bytes) -> bytes:
        return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)

    body = riff(b"VP8X", head) + b"".join(riff(n, c) for n, c in chunks.items() if n == b"ICCP") + simple[12:]
    body += b"".join(riff(n, c) for n, c in chunks.items() if n != b"ICCP")
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


# The contents of the committed files: RGB and grey blocks, inks from 0 to 255, the lossless image and its alpha.
BLOCKS = np.array(
    [[(255, 0, 0), (0, 255, 0), (0, 0, 255)], [(90, 160, 30), (128, 128, 128), (255, 255, 255)]], np.int64
)
GREYS = np.array([[0, 40, 90], [130, 200, 255]], np.int64)
INKS = np.array([[(200, 30, 60, 20), (10, 180, 90, 0)], [(0, 0, 0, 255), (0, 0, 0, 0)]], np.int64)
FORMULA = np.array([[(40 * x, 60 * y, 255 - 30 * x) for x in range(6)] for y in range(4)], np.int64)
ALPHA = np.array([[(255, 128, 0)[(x + y) % 3] for x in range(6)] for y in range(4)], np.int64)


def enlarged(blocks: np.ndarray) -> np.ndarray:
    return blocks.repeat(8, 0).repeat(8, 1)


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turns stored pixels upright, following the definition of each Exif orientation."""
    height, width = pixels.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    target = {  # (row, column) in the upright image of each stored pixel
        2: (rows, width - 1 - columns),
        3: (height - 1 - rows, width - 1 - columns),
        4: (height - 1 - rows, columns),
        5: (columns, rows),
        6: (columns, height - 1 - rows),
        7: (width - 1 - columns, height - 1 - rows),
        8: (width - 1 - columns, rows),
    }.get(orientation, (rows, columns))
    sides = (width, height) if orientation in (5, 6, 7, 8) else (height, width)
    result = np.empty((*sides, *pixels.shape[2:]), pixels.dtype)
    result[target] = pixels
    return result
