"""PNG, BMP, TIFF and GIF files written byte by byte, so that the tested library does not read its own output."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.integer] | Sequence[Sequence[int]]


def packed(rows: Values, bits: int, order: str = ">", pad: int = 1) -> bytes:
    """Packs rows of values of ``bits`` each, the first in the highest bits; rows are padded to ``pad`` bytes."""
    content = b""
    for row in np.asarray(rows).reshape(len(rows), -1):
        if bits == 16:
            line = row.astype(f"{order}u2").tobytes()
        else:
            text = "".join(f"{value:0{bits}b}" for value in row)
            text += "0" * (-len(text) % 8)
            line = int(text, 2).to_bytes(len(text) // 8, "big")
        content += line + bytes(-len(line) % pad)
    return content


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(rows: Values, bits: int, kind: int, *, before: bytes = b"", after: bytes = b"", ends: bool = True) -> bytes:
    """``kind`` is 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA; the chunks stand before and after the pixels."""
    values = np.asarray(rows)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, kind, 0, 0, 0)
    lines = b"".join(b"\0" + packed(row[None], bits) for row in values.reshape(len(values), -1))
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + chunk(b"IDAT", zlib.compress(lines)) + after
    return content + (chunk(b"IEND", b"") if ends else b"")


def iccp(profile: bytes) -> bytes:
    return chunk(b"iCCP", b"profile\0\0" + zlib.compress(profile))


def tiff(
    pixels: bytes | Sequence[bytes],
    tags: Mapping[int, object],
    *,
    order: str = "<",
    second: Mapping[int, object] | None = None,
) -> bytes:
    """Returns a TIFF of strips, or of tiles if the tags state their size.

    A tag's value is integers (SHORT, or LONG over 65535), pairs (RATIONAL) or bytes.
    ``second`` adds a page of the same pixels, with these tags changed.
    """
    strips = [pixels] if isinstance(pixels, bytes) else list(pixels)
    body, offsets = b"", []
    for strip in strips:
        offsets.append(8 + len(body))
        body += strip + bytes(len(strip) % 2)
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HI", 42, 8 + len(body))
    pages = [{**tags}] + ([{**tags, **second}] if second is not None else [])
    start, directories = 8 + len(body), b""
    for index, page in enumerate(pages):
        places, sizes = (324, 325) if 322 in page else (273, 279)
        page[places], page[sizes] = offsets, [len(strip) for strip in strips]
        if places == 273:
            page.setdefault(278, 2**16 - 1)
        content, outside = b"", b""
        end = start + len(directories) + 2 + 12 * len(page) + 4
        for tag in sorted(page):
            kind, count, value = _value(page[tag], order)
            if len(value) > 4:
                place = struct.pack(f"{order}I", end + len(outside))
                outside += value + bytes(len(value) % 2)
            else:
                place = value.ljust(4, b"\0")
            content += struct.pack(f"{order}HHI", tag, kind, count) + place
        following = end + len(outside) if index + 1 < len(pages) else 0
        directories += struct.pack(f"{order}H", len(page)) + content + struct.pack(f"{order}I", following) + outside
    return head + body + directories


def _value(value: object, order: str) -> tuple[int, int, bytes]:
    if isinstance(value, bytes):
        return 7, len(value), value
    values: list[Any] = list(value) if isinstance(value, (list, tuple)) else [value]
    if isinstance(values[0], tuple):
        return 5, len(values), b"".join(struct.pack(f"{order}II", *pair) for pair in values)
    kind, letter = (4, "I") if max(values) > 65535 else (3, "H")
    return kind, len(values), struct.pack(f"{order}{len(values)}{letter}", *values)


def shape_tags(height: int, width: int, bits: int, photometric: int, samples: int = 1) -> dict[int, object]:
    """Returns the tags of an uncompressed TIFF."""
    return {256: width, 257: height, 258: [bits] * samples, 259: 1, 262: photometric, 277: samples}


def bmp(
    pixels: bytes,
    width: int,
    height: int,
    bits: int,
    *,
    compression: int = 0,
    palette: Sequence[tuple[int, int, int]] = (),
    masks: Sequence[int] = (),
    header: int = 40,
    profile: bytes = b"",
    space: bytes = b"sRGB",
) -> bytes:
    """``pixels`` are rows from the bottom up, each padded to 4 bytes. ``masks``: red, green, blue, optionally alpha."""
    if header == 12:
        info = struct.pack("<IHHHH", 12, width, height, 1, bits)
        table = b"".join(bytes(colour[::-1]) for colour in palette)
    else:
        info = struct.pack(
            "<IiiHHIIiiII", header, width, height, 1, bits, compression, len(pixels), 0, 0, len(palette), 0
        )
        fields = b"".join(struct.pack("<I", mask) for mask in masks)
        if header > 40:
            info = (info + fields).ljust(56, b"\0")[:56]
            if header >= 108:
                info = (info + space[::-1]).ljust(108, b"\0")
            info = info.ljust(header, b"\0")
            fields = b""
        table = fields + b"".join(bytes(colour[::-1]) + b"\0" for colour in palette)
    offset = 14 + len(info) + len(table)
    if profile:
        info = info[:112] + struct.pack("<II", offset - 14 + len(pixels), len(profile)) + info[120:]
    size = offset + len(pixels) + len(profile)
    return b"BM" + struct.pack("<IHHI", size, 0, 0, offset) + info + table + pixels + profile


def gif(
    rows: Values,
    palette: Sequence[tuple[int, int, int]],
    *,
    transparent: int | None = None,
    screen: tuple[int, int] | None = None,
    offset: tuple[int, int] = (0, 0),
    frames: int = 1,
) -> bytes:
    """Returns a GIF of 8-bit indices, not really compressed: a clear code precedes every pixel."""
    values = np.asarray(rows)
    height, width = values.shape
    wide, high = screen or (width, height)
    colours = b"".join(map(bytes, palette)).ljust(3 * 4, b"\0")
    content = b"GIF89a" + struct.pack("<HHBBB", wide, high, 0x81, 0, 0) + colours
    for _ in range(frames):
        if transparent is not None or frames > 1:
            content += b"!\xf9\x04" + struct.pack("<BHB", transparent is not None, 10, transparent or 0) + b"\0"
        content += b"," + struct.pack("<HHHHB", *offset, width, height, 0) + b"\x08"
        bits = "".join(f"{code:09b}"[::-1] for value in values.ravel() for code in (256, int(value)))
        bits += f"{257:09b}"[::-1]
        bits += "0" * (-len(bits) % 8)
        data = bytes(int(bits[at : at + 8][::-1], 2) for at in range(0, len(bits), 8))
        content += b"".join(bytes([len(data[at : at + 255])]) + data[at : at + 255] for at in range(0, len(data), 255))
        content += b"\0"
    return content + b";"
