"""Reading of TIFF files of every kind, written byte by byte: the right pixels, or an error with the reason."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from icc_bytes import cmyk_profile, gamma_profile, srgb_of_gamma, srgb_of_lab
from image_bytes import packed, shape_tags, tiff
from image_reading import assert_pixels, on_white, read, refusal, to_8_bits
from jpeg_bytes import upright

SIZE = (5, 7)
RNG = np.random.default_rng(0)
RGB8 = RNG.integers(0, 256, (*SIZE, 3))
ORDERS = pytest.mark.parametrize("order", ["<", ">"])
PACKINGS = pytest.mark.parametrize("deflate", [False, True])


def written(
    values: np.ndarray, bits: int, photometric: int, order: str = "<", deflate: bool = False, **tags: Any
) -> bytes:
    """Returns a TIFF of values [H, W] or [H, W, C]; tag 338 is passed as t338=…"""
    samples = values.shape[2] if values.ndim == 3 else 1
    pixels = packed(values, bits, order)
    all_tags = shape_tags(values.shape[0], values.shape[1], bits, photometric, samples)
    all_tags |= {int(name[1:]): value for name, value in tags.items()}
    if deflate:
        all_tags[259], pixels = 8, zlib.compress(pixels)
    return tiff(pixels, all_tags, order=order)


@ORDERS
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_grey_with_black_or_white_as_zero(tmp_path: Path, bits: int, order: str) -> None:
    maximum = 2**bits - 1
    values = RNG.integers(0, maximum + 1, SIZE)
    assert_pixels(read(tmp_path, "a.tif", written(values, bits, 1, order), SIZE, 1), to_8_bits(values, maximum))
    if (bits, order) == (16, ">"):
        return  # refused, see below
    assert_pixels(read(tmp_path, "b.tif", written(values, bits, 0, order), SIZE), to_8_bits(maximum - values, maximum))


@PACKINGS
def test_grey_of_12_bits(tmp_path: Path, deflate: bool) -> None:
    values = RNG.integers(0, 4096, (5, 8))
    assert_pixels(read(tmp_path, "a.tif", written(values, 12, 1, "<", deflate), (5, 8)), to_8_bits(values, 4095))


@ORDERS
@PACKINGS
def test_16_bits_with_white_as_zero(tmp_path: Path, order: str, deflate: bool) -> None:
    values = RNG.integers(0, 65536, SIZE)
    content = written(values, 16, 0, order, deflate)
    if order == ">":
        assert "cannot be read as an image" in refusal(tmp_path, "a.tif", content, SIZE)
    else:
        assert_pixels(read(tmp_path, "a.tif", content, SIZE), to_8_bits(65535 - values, 65535))


@ORDERS
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes_of_16_or_8_bits(tmp_path: Path, bits: int, order: str) -> None:
    values = RNG.integers(0, 2**bits, SIZE)
    colours = RNG.integers(0, 65536, (2**bits, 3))
    colours[0] = 65535
    assert_pixels(
        read(tmp_path, "a.tif", written(values, bits, 3, order, t320=colours.T.ravel().tolist()), SIZE),
        to_8_bits(colours, 65535)[values],
    )
    small = colours % 256
    content = written(values, bits, 3, order, t320=small.T.ravel().tolist())
    assert_pixels(read(tmp_path, "b.tif", content, SIZE), small[values])


@ORDERS
@PACKINGS
@pytest.mark.parametrize("bits", [8, 16])
def test_colour_and_every_kind_of_fourth_channel(tmp_path: Path, bits: int, order: str, deflate: bool) -> None:
    maximum = 2**bits - 1
    values = RNG.integers(0, maximum + 1, (*SIZE, 4))
    colour, alpha = values[..., :3], values[..., 3]
    assert_pixels(read(tmp_path, "a.tif", written(colour, bits, 2, order, deflate), SIZE), to_8_bits(colour, maximum))
    unspecified = written(values, bits, 2, order, deflate, t338=0)
    assert_pixels(read(tmp_path, "b.tif", unspecified, SIZE), to_8_bits(colour, maximum))
    straight = on_white(to_8_bits(colour, maximum), to_8_bits(alpha, maximum))
    assert_pixels(read(tmp_path, "c.tif", written(values, bits, 2, order, deflate, t338=2), SIZE), straight)
    assert_pixels(read(tmp_path, "d.tif", written(values, bits, 2, order, deflate), SIZE), straight)
    colour = np.minimum(colour, alpha[..., None])
    values = np.concatenate([colour, alpha[..., None]], -1)
    exact = to_8_bits(colour + (maximum - alpha[..., None]), maximum)
    associated = written(values, bits, 2, order, deflate, t338=1)
    assert_pixels(read(tmp_path, "e.tif", associated, SIZE), exact, within=1 if bits == 16 else 0)


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_grey_and_every_kind_of_second_channel(tmp_path: Path, kind: int) -> None:
    values = RNG.integers(0, 256, (*SIZE, 2))
    if kind == 1:
        values[..., 0] = np.minimum(values[..., 0], values[..., 1])
    grey, alpha = values[..., :1], values[..., 1]
    expected = {0: grey, 1: grey + 255 - alpha[..., None], 2: on_white(grey, alpha)}[kind]
    assert_pixels(read(tmp_path, "a.tif", written(values, 8, 1, t338=kind), SIZE, 1), expected)


@PACKINGS
def test_planar_channels_of_8_bits(tmp_path: Path, deflate: bool) -> None:
    values = RNG.integers(0, 256, (*SIZE, 4))
    for samples, extra in ((3, {}), (4, {338: 2})):
        planes = [packed(values[..., channel], 8) for channel in range(samples)]
        tags = {**shape_tags(*SIZE, 8, 2, samples), **extra, 284: 2, 278: SIZE[0], 259: 8 if deflate else 1}
        content = tiff([zlib.compress(plane) for plane in planes] if deflate else planes, tags)
        expected = values[..., :3] if samples == 3 else on_white(values[..., :3], values[..., 3])
        assert_pixels(read(tmp_path, "a.tif", content, SIZE), expected)


@ORDERS
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_applied(tmp_path: Path, orientation: int, order: str) -> None:
    expected = upright(RGB8, orientation)
    for bits, deflate in ((8, False), (8, True), (16, False), (16, True)):
        content = written(RGB8 * ((2**bits - 1) // 255), bits, 2, order, deflate, t274=orientation)
        assert_pixels(read(tmp_path, "a.tif", content, expected.shape[:2]), expected)


def test_profiles_are_applied(tmp_path: Path) -> None:
    content = written(RGB8, 8, 2, t34675=gamma_profile(1.8))
    assert_pixels(read(tmp_path, "a.tif", content, SIZE), srgb_of_gamma(RGB8, 461 / 256), within=1)
    corners = {
        (0, 0, 0, 0): (100.0, 0.0, 0.0),
        (1, 0, 0, 0): (60.0, -30.0, -30.0),
        (0, 1, 0, 0): (50.0, 60.0, 0.0),
        (0, 0, 1, 0): (90.0, -5.0, 70.0),
    }
    inks = np.array([[(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 255, 0), (0, 0, 0, 255)]])
    colours = np.array([[srgb_of_lab(corners.get(tuple(ink // 255), (0, 0, 0))) for ink in inks[0]]])
    profile = cmyk_profile(corners)
    for bits, deflate in ((8, False), (8, True), (16, False), (16, True)):
        content = written(inks * ((2**bits - 1) // 255), bits, 5, "<", deflate, t34675=profile)
        assert_pixels(read(tmp_path, "b.tif", content, (1, 5)), colours, within=2)


@pytest.mark.parametrize(
    ("bits", "photometric", "samples", "tags", "expected"),
    [
        (8, 1, 1, {339: 2}, "signed pixels"),
        (16, 1, 1, {339: 2}, "signed pixels"),
        (32, 1, 1, {339: 2}, "signed pixels"),
        (32, 1, 1, {339: 3}, "floating-point pixels"),
        (32, 1, 1, {}, "32 bits a value, expected up to 16"),
        (16, 1, 1, {339: 3}, "cannot be read as an image"),
        (8, 2, 3, {339: [2, 2, 2]}, "cannot be read as an image"),
        (4, 2, 3, {}, "cannot be read as an image"),
        (16, 3, 1, {320: [0] * 9}, "cannot be read as an image"),
        (1, 4, 1, {}, "cannot be read as an image"),
        (8, 8, 3, {}, "Lab pixels"),
        (8, 6, 3, {}, "YCbCr pixels of an uncommon kind"),
        (8, 5, 4, {}, "CMYK pixels and no colour profile"),
        (16, 5, 4, {}, "CMYK pixels and no colour profile"),
        (8, 5, 4, {332: 2}, "other inks than CMYK"),
        (8, 5, 4, {34675: gamma_profile(1.8)}, "CMYK pixels and a colour profile for RGB"),
        (16, 2, 3, {284: 2, 278: 5}, "stores its channels apart"),
        (8, 2, 4, {284: 2, 278: 5}, "stores its channels apart"),
        (8, 2, 4, {284: 2, 278: 5, 338: 1}, "stores its channels apart"),
        (8, 2, 3, {319: [(n, 100) for n in (64, 33, 21, 71, 15, 6)]}, "other primaries than sRGB"),
        (8, 3, 1, {320: [0] * 9}, "of colour"),
    ],
)
def test_kinds_without_a_definite_meaning_are_refused(
    tmp_path: Path, bits: int, photometric: int, samples: int, tags: dict[int, object], expected: str
) -> None:
    pixels = bytes(range(256)) * 5
    strips = [pixels] * samples if tags.get(284) == 2 else pixels
    content = tiff(strips, {**shape_tags(*SIZE, bits, photometric, samples), **tags})
    assert expected in refusal(tmp_path, "a.tif", content, SIZE)


UNSUPPORTED = ": it is damaged, or a kind of TIFF that Pillow does not read: save it as"


@ORDERS
@pytest.mark.parametrize(
    ("bits", "photometric", "samples", "tags"),
    [
        (8, 2, 4, {266: 2, 338: 2}),
        (8, 2, 4, {266: 2, 338: 1}),
        (8, 1, 2, {266: 2, 338: 2}),
        (16, 2, 3, {266: 2}),
        (8, 5, 4, {266: 2}),
        (1, 2, 3, {}),
        (2, 2, 3, {}),
        (4, 2, 3, {}),
        (4, 2, 4, {338: 2}),
        (10, 1, 1, {}),
        (16, 1, 2, {338: 2}),
        (16, 3, 1, {320: [0] * 9}),
        (1, 4, 1, {}),
        (8, 32803, 1, {}),
        (8, 0, 1, {266: 2}),
        (8, 1, 1, {259: 34676}),
        (8, 1, 1, {259: 34712}),
        (8, 1, 1, {259: 34661}),
        (8, 1, 1, {259: 34887}),
    ],
)
def test_kinds_that_pillow_does_not_read(
    tmp_path: Path, bits: int, photometric: int, samples: int, tags: dict[int, object], order: str
) -> None:
    content = tiff(bytes(1280), {**shape_tags(*SIZE, bits, photometric, samples), **tags}, order=order)
    assert UNSUPPORTED in refusal(tmp_path, "a.tif", content, SIZE)


def test_a_big_endian_bigtiff_and_files_that_only_begin_like_tiff(tmp_path: Path) -> None:
    big = b"MM\0+\0\x08\0\0" + bytes(7) + b"\x10" + bytes(64)
    for head in (big, b"II*\0", b"MM\0*", b"II+\0"):
        assert UNSUPPORTED in refusal(tmp_path, "a.tif", head, SIZE)
    assert "it is damaged, or not in a supported format (PNG" in refusal(tmp_path, "b.tif", b"II*", SIZE)
    cut = written(RGB8, 8, 2)[:100]
    assert "damaged, or a kind" in refusal(tmp_path, "c.tif", cut, SIZE)
    bomb = refusal(tmp_path, "d.tif", tiff(bytes(9), shape_tags(30000, 30000, 1, 1)), SIZE)
    assert "exceeds limit" in bomb
    assert "damaged" not in bomb


@pytest.mark.parametrize(("bits", "samples", "photometric"), [(1, 1, 0), (8, 1, 1), (16, 1, 1), (8, 3, 2)])
def test_fill_order_from_the_lowest_bit(tmp_path: Path, bits: int, samples: int, photometric: int) -> None:
    maximum = 2**bits - 1
    values = RNG.integers(0, maximum + 1, (*SIZE, samples))
    for deflate in (False, True):
        pixels = packed(values, bits, "<")
        all_tags = {**shape_tags(*SIZE, bits, photometric, samples), 266: 2, 259: 8 if deflate else 1}
        pixels = bytes(int(f"{byte:08b}"[::-1], 2) for byte in (zlib.compress(pixels) if deflate else pixels))
        expected = to_8_bits(values if photometric else maximum - values, maximum)
        assert_pixels(read(tmp_path, "a.tif", tiff(pixels, all_tags), SIZE), expected)


def test_ycbcr_without_subsampling_is_read(tmp_path: Path) -> None:
    values = np.array([[(255, 128, 128), (0, 128, 128), (76, 85, 255), (150, 44, 21)]])
    content = written(values, 8, 6, t530=[1, 1])
    expected = np.array([[(255, 255, 255), (0, 0, 0), (254, 0, 0), (0, 255, 1)]])
    assert_pixels(read(tmp_path, "a.tif", content, (1, 4)), expected, within=1)


def test_a_missing_photometric_interpretation_is_refused(tmp_path: Path) -> None:
    tags = shape_tags(*SIZE, 8, 1)
    del tags[262]
    assert "tag PhotometricInterpretation" in refusal(tmp_path, "a.tif", tiff(bytes(35), tags), SIZE)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({}, {}, "holds several pages, expected one image"),
        ({}, {254: 1}, None),
        ({}, {255: 2}, None),
        ({254: 1}, {254: 0}, "begins with a smaller copy"),
        ({}, {254: 4, 262: 4, 258: 1, 277: 1}, "further pages"),
    ],
)
def test_a_second_page_is_a_smaller_copy_or_refused(
    tmp_path: Path, first: dict[int, object], second: dict[int, object], expected: str | None
) -> None:
    content = tiff(packed(RGB8, 8), {**shape_tags(*SIZE, 8, 2, 3), **first}, second=second)
    if expected:
        assert expected in refusal(tmp_path, "a.tif", content, SIZE)
    else:
        assert_pixels(read(tmp_path, "a.tif", content, SIZE), RGB8)
