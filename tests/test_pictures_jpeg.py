"""JPEG and WebP files of other programs, with markers patched into them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from icc_bytes import cmyk_profile, gamma_profile, srgb_of_gamma
from image_bytes import packed, shape_tags, tiff
from jpeg_bytes import (
    ALPHA,
    BLOCKS,
    FORMULA,
    GREYS,
    INKS,
    enlarged,
    exif,
    icc_segments,
    mpo,
    picture,
    segment,
    turned,
    webp,
    with_segments,
    without_segment,
)
from picture_reading import on_white, read, refusal, same

SIZE = (16, 24)
INKED = (16, 16)


def test_jpeg_of_every_plain_colour_space(tmp_path: Path) -> None:
    same(read(tmp_path, "a.jpg", picture("ycbcr.jpg"), SIZE), enlarged(BLOCKS), within=2)
    same(read(tmp_path, "b.jpg", picture("rgb.jpg"), SIZE), enlarged(BLOCKS), within=1)
    for channels in (1, 3):
        same(read(tmp_path, "c.jpg", picture("grey.jpg"), SIZE, channels), enlarged(GREYS), within=1)


@pytest.mark.parametrize("name", ["cmyk.jpg", "ycck.jpg"])
def test_inks_are_read_as_adobe_writes_them(tmp_path: Path, name: str) -> None:
    content = picture(name)
    plain = (255 - INKS[..., :3]) * (255 - INKS[..., 3:]) / 255
    same(read(tmp_path, "a.jpg", content, INKED), enlarged(np.round(plain)), within=2)
    refused = "without Adobe's marker, which may be inverted or not"
    unmarked = without_segment(content, 0xEE)
    assert refused in refusal(tmp_path, "b.jpg", unmarked, INKED)
    profile = cmyk_profile({(0, 0, 0, 0): (100, 0, 0), (1, 0, 0, 0): (60, -30, -30), (0, 1, 0, 0): (50, 60, 0)})
    assert refused in refusal(tmp_path, "c.jpg", with_segments(unmarked, *icc_segments(profile)), INKED)
    as_tiff = tiff(packed(enlarged(INKS), 8), {**shape_tags(*INKED, 8, 5, 4), 34675: profile})  # never inverted
    expected = read(tmp_path, "d.tif", as_tiff, INKED)
    assert expected[0, 0].tolist() != np.round(plain[0, 0]).tolist()
    for parts in (1, 3):
        described = with_segments(content, *icc_segments(profile, parts))
        same(read(tmp_path, "e.jpg", described, INKED), expected, within=3)


def test_jpeg_profiles_in_parts(tmp_path: Path) -> None:
    content, parts = picture("rgb.jpg"), icc_segments(gamma_profile(1.8), 3)
    expected = enlarged(srgb_of_gamma(BLOCKS, 461 / 256))
    same(read(tmp_path, "a.jpg", with_segments(content, *parts[::-1]), SIZE), expected, within=2)
    assert "damaged colour profile" in refusal(tmp_path, "b.jpg", with_segments(content, *parts[:2]), SIZE)
    tables = content.index(b"\xff\xc4")  # behind the frame header, where few programs look
    late = content[:tables] + b"".join(parts) + content[tables:]
    assert "damaged colour profile" in refusal(tmp_path, "c.jpg", late, SIZE)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(10))
def test_orientation(tmp_path: Path, orientation: int, order: str) -> None:
    expected = turned(enlarged(BLOCKS), orientation)
    described = with_segments(picture("rgb.jpg"), segment(0xE1, b"Exif\0\0" + exif(orientation, order)))
    same(read(tmp_path, "a.jpg", described, expected.shape[:2]), expected, within=1)
    if orientation in range(1, 9):
        expected = turned(FORMULA, orientation)
        content = webp(picture("lossless.webp"), {b"EXIF": exif(orientation, order)}, (6, 4))
        same(read(tmp_path, "b.webp", content, expected.shape[:2]), expected)


def test_unreadable_exif_is_told(tmp_path: Path) -> None:
    content = with_segments(picture("rgb.jpg"), segment(0xE1, b"Exif\0\0nothing of the kind"))
    with pytest.warns(UserWarning, match=r"a\.jpg has Exif data that cannot be read"):
        same(read(tmp_path, "a.jpg", content, SIZE), enlarged(BLOCKS), within=1)


@pytest.mark.parametrize("kind", [0, 0x010001, 0x010002])
def test_what_phones_add_to_a_picture_is_told(tmp_path: Path, kind: int) -> None:
    content = mpo(picture("rgb.jpg"), picture("grey.jpg"), kind)
    with pytest.warns(UserWarning, match=r"a\.jpg holds 2 pictures \(MPO\), the first one is read"):
        same(read(tmp_path, "a.jpg", content, SIZE), enlarged(BLOCKS), within=1)


@pytest.mark.parametrize("kind", [0x020001, 0x020002, 0x020003])
def test_views_of_several_lenses_are_refused(tmp_path: Path, kind: int) -> None:
    content = mpo(picture("rgb.jpg"), picture("ycbcr.jpg"), kind)
    assert "holds 2 views, expected one picture" in refusal(tmp_path, "a.jpg", content, SIZE)


def test_a_truncated_jpeg_is_refused(tmp_path: Path) -> None:
    content = picture("ycbcr.jpg")
    for end in (2, 20, 200, len(content) - 2):
        assert "cannot be read as an image" in refusal(tmp_path, "a.jpg", content[:end], SIZE)


def test_webp(tmp_path: Path) -> None:
    size = (4, 6)
    same(read(tmp_path, "a.webp", picture("lossless.webp"), size), FORMULA)
    same(read(tmp_path, "b.webp", picture("alpha.webp"), size), on_white(FORMULA, ALPHA))
    same(read(tmp_path, "c.webp", picture("lossy.webp"), (8, 8)), np.full((8, 8, 3), (201, 100, 50)))  # says dwebp
    described = webp(picture("lossless.webp"), {b"ICCP": gamma_profile(1.8)}, (6, 4))
    same(read(tmp_path, "d.webp", described, size), srgb_of_gamma(FORMULA, 461 / 256), within=1)
    assert "holds 2 frames" in refusal(tmp_path, "e.webp", picture("animated.webp"), size)
    assert "cannot be read as an image" in refusal(tmp_path, "f.webp", picture("alpha.webp")[:-20], size)
