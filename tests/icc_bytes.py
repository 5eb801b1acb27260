"""Colour profiles written byte by byte, and the conversion to sRGB that they specify."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

# XYZ of sRGB's red, green and blue, adapted to D50.
SRGB_COLUMNS = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))


def _s15(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def icc(space: bytes, tags: Mapping[bytes, bytes], *, pcs: bytes = b"XYZ ", kind: bytes = b"mntr") -> bytes:
    """Returns a profile of version 2 for the colour ``space`` ("RGB ", "GRAY" or "CMYK")."""
    illuminant = _s15(0.9642) + _s15(1) + _s15(0.8249)
    every = {b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78), b"cprt": b"text\0\0\0\0-\0\0\0"}
    every |= {b"wtpt": b"XYZ \0\0\0\0" + illuminant, **tags}
    table, body, start = struct.pack(">I", len(every)), b"", 128 + 4 + 12 * len(every)
    for name, content in every.items():
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(">I4sI4s4s4s", start + len(body), b"\0\0\0\0", 0x02400000, kind, space, pcs) + bytes(12)
    header += b"acsp" + bytes(28) + illuminant
    return header.ljust(128, b"\0") + table + body


def gamma_profile(gamma: float, primaries: Sequence[Sequence[float]] | None = None) -> bytes:
    """Returns an RGB profile with a power curve; ``primaries``: XYZ (D50) of red, green and blue, default sRGB's."""
    columns = primaries or SRGB_COLUMNS
    return _rgb_profile(b"curv\0\0\0\0" + struct.pack(">IHH", 1, round(gamma * 256), 0), columns)


def srgb_profile() -> bytes:
    """Returns sRGB with a table of 1024 values as its curve, as scanners and cameras embed it."""
    steps = np.linspace(0, 1, 1024)
    light = np.where(steps <= 0.04045, steps / 12.92, ((steps + 0.055) / 1.055) ** 2.4)
    curve = b"curv\0\0\0\0" + struct.pack(">I", 1024) + np.round(light * 65535).astype(">u2").tobytes()
    return _rgb_profile(curve, SRGB_COLUMNS)


def _rgb_profile(curve: bytes, columns: Sequence[Sequence[float]]) -> bytes:
    tags = {b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    for name, xyz in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True):
        tags[name] = b"XYZ \0\0\0\0" + b"".join(map(_s15, xyz))
    return icc(b"RGB ", tags)


def grey_profile(gamma: float) -> bytes:
    curve = b"curv\0\0\0\0" + struct.pack(">IHH", 1, round(gamma * 256), 0)
    return icc(b"GRAY", {b"kTRC": curve})


def cmyk_profile(corners: Mapping[tuple[int, int, int, int], tuple[float, float, float]]) -> bytes:
    """Returns a CMYK profile with these Lab values at the 16 corners; missing corners are black."""
    line = struct.pack(">HH", 0, 65535)
    table = b""
    for index in range(16):
        corner = (index >> 3 & 1, index >> 2 & 1, index >> 1 & 1, index & 1)
        light, a, b = corners.get(corner, (0, 0, 0))
        table += struct.pack(">HHH", round(light * 652.8), round((a + 128) * 256), round((b + 128) * 256))
    head = b"mft2\0\0\0\0" + bytes((4, 3, 2, 0)) + b"".join(map(_s15, (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    content = head + struct.pack(">HH", 2, 2) + line * 4 + table + line * 3
    return icc(b"CMYK", {b"A2B0": content}, pcs=b"Lab ", kind=b"prtr")


def srgb_of(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """Applies the curve of sRGB: linear light 0 to 1 -> 0 to 255."""
    clipped = linear.clip(0, 1)
    return 255 * np.where(clipped <= 0.0031308, 12.92 * clipped, 1.055 * clipped ** (1 / 2.4) - 0.055)


def srgb_of_gamma(values: NDArray[np.integer], gamma: float) -> NDArray[np.float64]:
    """Converts values 0 to 255 with a power curve to sRGB."""
    return np.round(srgb_of((values / 255) ** gamma))


def srgb_of_lab(lab: Sequence[float]) -> NDArray[np.float64]:
    """Converts a Lab colour (D50) to sRGB."""
    y = (lab[0] + 16) / 116
    f = np.array([y + lab[1] / 500, y, y - lab[2] / 200])
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * (0.9642, 1, 0.8249)
    return np.round(srgb_of(np.linalg.inv(np.array(SRGB_COLUMNS).T) @ xyz))
