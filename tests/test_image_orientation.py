"""All eight orientations of TIFF for every pixel layout: no rows may be read at the width of the rotated image."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from icc_bytes import cmyk_profile
from image_bytes import packed, shape_tags, tiff
from image_reading import assert_pixels, read
from jpeg_bytes import stored_image, upright

SIZE = HEIGHT, WIDTH = (16, 48)
RNG = np.random.default_rng(0)
PALETTE = {320: RNG.integers(0, 65536, 3 * 256).tolist()}
INKS = {34675: cmyk_profile({(1, 0, 0, 0): (60.0, -30.0, -30.0), (0, 0, 0, 0): (100.0, 0.0, 0.0)})}

# Bits, PhotometricInterpretation, channels and further tags.
LAYOUTS: dict[str, tuple[int, int, int, dict[int, Any]]] = {
    "grey, 1 bit": (1, 1, 1, {}),
    "grey, 4 bits": (4, 1, 1, {}),
    "grey": (8, 1, 1, {}),
    "grey, white is 0": (8, 0, 1, {}),
    "grey, 12 bits": (12, 1, 1, {}),
    "grey, 16 bits": (16, 1, 1, {}),
    "grey, 16 bits, white is 0": (16, 0, 1, {}),
    "grey and more": (8, 1, 2, {338: 0}),
    "grey and associated alpha": (8, 1, 2, {338: 1}),
    "grey and alpha": (8, 1, 2, {338: 2}),
    "palette, 4 bits": (4, 3, 1, {320: PALETTE[320][:48]}),
    "palette": (8, 3, 1, PALETTE),
    "palette and alpha": (8, 3, 2, {**PALETTE, 338: 2}),
    "RGB": (8, 2, 3, {}),
    "RGB, 16 bits": (16, 2, 3, {}),
    "RGB and more": (8, 2, 4, {338: 0}),
    "RGB and associated alpha": (8, 2, 4, {338: 1}),
    "RGB and alpha": (8, 2, 4, {338: 2}),
    "RGB and alpha, not stated": (8, 2, 4, {}),
    "RGB, alpha and more": (8, 2, 5, {338: [2, 0]}),
    "RGB and alpha, 16 bits": (16, 2, 4, {338: 2}),
    "RGB and associated alpha, 16 bits": (16, 2, 4, {338: 1}),
    "CMYK": (8, 5, 4, INKS),
    "CMYK, 16 bits": (16, 5, 4, INKS),
}
STORAGE = {"one strip": (HEIGHT, 0), "strips": (3, 0), "one tile": (16, WIDTH), "tiles": (16, 32)}
BIG_ENDIAN_REFUSED = ("grey, 12 bits", "grey, 16 bits, white is 0")


def split(values: np.ndarray, rows: int, columns: int) -> list[np.ndarray]:
    """Splits values [H, W, C] into strips of ``rows``, or, if ``columns`` is not 0, into tiles padded with zeros."""
    if not columns:
        return [values[top : top + rows] for top in range(0, HEIGHT, rows)]
    padded = np.pad(values, ((0, -HEIGHT % rows), (0, -WIDTH % columns), (0, 0)))
    return [
        padded[top : top + rows, left : left + columns]
        for top in range(0, HEIGHT, rows)
        for left in range(0, WIDTH, columns)
    ]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_in_every_orientation(tmp_path: Path, layout: str, order: str) -> None:
    if order == ">" and layout in BIG_ENDIAN_REFUSED:
        return
    bits, photometric, channels, tags = LAYOUTS[layout]
    values = RNG.integers(0, 2**bits, (*SIZE, channels))
    stored_upright = None
    for rows, columns in STORAGE.values():
        size_tags = {322: columns, 323: rows} if columns else {278: rows}
        for deflate in (False, True):
            pixels = [packed(part, bits, order) for part in split(values, rows, columns)]
            all_tags = {**shape_tags(*SIZE, bits, photometric, channels), **tags, **size_tags}
            if deflate:
                pixels, all_tags[259] = [zlib.compress(part) for part in pixels], 8
            for orientation in (1, 6) if deflate else range(1, 9):
                content = tiff(pixels, {**all_tags, 274: orientation}, order=order)
                if stored_upright is None:
                    stored_upright = read(tmp_path, "a.tif", content, SIZE)  # other tests check its values
                expected = upright(stored_upright, orientation)
                assert_pixels(read(tmp_path, "a.tif", content, (expected.shape[0], expected.shape[1])), expected)
    assert stored_upright is not None
    assert len(np.unique(stored_upright)) > 1


@pytest.mark.parametrize("deflate", [False, True])
def test_planar_channels_in_every_orientation(tmp_path: Path, deflate: bool) -> None:
    values = RNG.integers(0, 256, (*SIZE, 3))
    planes = [packed(values[..., channel], 8) for channel in range(3)]
    tags = {**shape_tags(*SIZE, 8, 2, 3), 284: 2, 278: HEIGHT, 259: 8 if deflate else 1}
    for orientation in range(1, 9):
        expected = upright(values, orientation)
        content = tiff([zlib.compress(plane) for plane in planes] if deflate else planes, {**tags, 274: orientation})
        assert_pixels(read(tmp_path, "a.tif", content, (expected.shape[0], expected.shape[1])), expected)


def test_a_jpeg_compressed_tiff_in_every_orientation(tmp_path: Path) -> None:
    tags = {**shape_tags(16, 24, 8, 6, 3), 259: 7, 530: [1, 1]}
    stored_upright = read(tmp_path, "a.tif", tiff(stored_image("ycbcr.jpg"), tags), (16, 24))
    assert_pixels(stored_upright, read(tmp_path, "a.jpg", stored_image("ycbcr.jpg"), (16, 24)), within=1)
    for orientation in range(1, 9):
        expected = upright(stored_upright, orientation)
        content = tiff(stored_image("ycbcr.jpg"), {**tags, 274: orientation})
        assert_pixels(read(tmp_path, "b.tif", content, (expected.shape[0], expected.shape[1])), expected)


def test_orientation_in_xmp_applies_if_the_tag_is_missing(tmp_path: Path) -> None:
    values = RNG.integers(0, 256, SIZE)
    expected = upright(values, 6)
    tags = {**shape_tags(*SIZE, 8, 1), 700: b'<x:xmpmeta tiff:Orientation="6"/>'}
    assert_pixels(read(tmp_path, "a.tif", tiff(packed(values, 8), tags), (WIDTH, HEIGHT), 1), expected)
    content = tiff(packed(values, 8), {**tags, 274: 1})
    assert_pixels(read(tmp_path, "b.tif", content, SIZE, 1), values)
    for other in (0, 9):
        assert_pixels(read(tmp_path, "c.tif", tiff(packed(values, 8), {**tags, 274: other}), SIZE, 1), values)


def test_orientation_applies_if_a_smaller_copy_follows(tmp_path: Path) -> None:
    values = RNG.integers(0, 256, SIZE)
    content = tiff(packed(values, 8), {**shape_tags(*SIZE, 8, 1), 274: 5}, second={254: 1, 274: 1})
    assert_pixels(read(tmp_path, "a.tif", content, (WIDTH, HEIGHT), 1), upright(values, 5))
