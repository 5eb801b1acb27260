"""Reading of JPEG and WebP files that other programs wrote, with markers added."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from icc_bytes import cmyk_profile, gamma_profile, srgb_of_gamma
from image_bytes import packed, shape_tags, tiff
from image_reading import assert_pixels, on_white, read, refusal
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
    segment,
    stored_image,
    upright,
    webp,
    with_segments,
    without_segment,
)

SIZE = (16, 24)
INK_SIZE = (16, 16)


def test_ycbcr_rgb_and_grey_jpegs(tmp_path: Path) -> None:
    assert_pixels(read(tmp_path, "a.jpg", stored_image("ycbcr.jpg"), SIZE), enlarged(BLOCKS), within=2)
    assert_pixels(read(tmp_path, "b.jpg", stored_image("rgb.jpg"), SIZE), enlarged(BLOCKS), within=1)
    for channels in (1, 3):
        assert_pixels(read(tmp_path, "c.jpg", stored_image("grey.jpg"), SIZE, channels), enlarged(GREYS), within=1)


@pytest.mark.parametrize("name", ["cmyk.jpg", "ycck.jpg"])
def test_cmyk_is_inverted_if_adobes_marker_is_present(tmp_path: Path, name: str) -> None:
    content = stored_image(name)
    plain = (255 - INKS[..., :3]) * (255 - INKS[..., 3:]) / 255
    assert_pixels(read(tmp_path, "a.jpg", content, INK_SIZE), enlarged(np.round(plain)), within=2)
    message = "without Adobe's marker, which may be inverted or not"
    unmarked = without_segment(content, 0xEE)
    assert message in refusal(tmp_path, "b.jpg", unmarked, INK_SIZE)
    profile = cmyk_profile({(0, 0, 0, 0): (100, 0, 0), (1, 0, 0, 0): (60, -30, -30), (0, 1, 0, 0): (50, 60, 0)})
    assert message in refusal(tmp_path, "c.jpg", with_segments(unmarked, *icc_segments(profile)), INK_SIZE)
    as_tiff = tiff(packed(enlarged(INKS), 8), {**shape_tags(*INK_SIZE, 8, 5, 4), 34675: profile})  # never inverted
    expected = read(tmp_path, "d.tif", as_tiff, INK_SIZE)
    assert expected[0, 0].tolist() != np.round(plain[0, 0]).tolist()
    for parts in (1, 3):
        profiled = with_segments(content, *icc_segments(profile, parts))
        assert_pixels(read(tmp_path, "e.jpg", profiled, INK_SIZE), expected, within=3)


def test_a_profile_split_over_segments(tmp_path: Path) -> None:
    content, parts = stored_image("rgb.jpg"), icc_segments(gamma_profile(1.8), 3)
    expected = enlarged(srgb_of_gamma(BLOCKS, 461 / 256))
    assert_pixels(read(tmp_path, "a.jpg", with_segments(content, *parts[::-1]), SIZE), expected, within=2)
    assert "damaged colour profile" in refusal(tmp_path, "b.jpg", with_segments(content, *parts[:2]), SIZE)
    tables = content.index(b"\xff\xc4")  # after the frame header, where few programs look
    late = content[:tables] + b"".join(parts) + content[tables:]
    assert "damaged colour profile" in refusal(tmp_path, "c.jpg", late, SIZE)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(10))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, order: str) -> None:
    expected = upright(enlarged(BLOCKS), orientation)
    with_exif = with_segments(stored_image("rgb.jpg"), segment(0xE1, b"Exif\0\0" + exif(orientation, order)))
    assert_pixels(read(tmp_path, "a.jpg", with_exif, expected.shape[:2]), expected, within=1)
    if orientation in range(1, 9):
        expected = upright(FORMULA, orientation)
        content = webp(stored_image("lossless.webp"), {b"EXIF": exif(orientation, order)}, (6, 4))
        assert_pixels(read(tmp_path, "b.webp", content, expected.shape[:2]), expected)


def test_unreadable_exif_is_a_warning(tmp_path: Path) -> None:
    content = with_segments(stored_image("rgb.jpg"), segment(0xE1, b"Exif\0\0nothing of the kind"))
    with pytest.warns(UserWarning, match=r"a\.jpg has Exif data that cannot be read"):
        assert_pixels(read(tmp_path, "a.jpg", content, SIZE), enlarged(BLOCKS), within=1)


@pytest.mark.parametrize("kind", [0, 0x010001, 0x010002])
def test_a_phones_additional_images_are_a_warning(tmp_path: Path, kind: int) -> None:
    content = mpo(stored_image("rgb.jpg"), stored_image("grey.jpg"), kind)
    with pytest.warns(UserWarning, match=r"a\.jpg holds 2 images \(MPO\), the first one is read"):
        assert_pixels(read(tmp_path, "a.jpg", content, SIZE), enlarged(BLOCKS), within=1)


@pytest.mark.parametrize("kind", [0x020001, 0x020002, 0x020003])
def test_images_of_several_lenses_are_refused(tmp_path: Path, kind: int) -> None:
    content = mpo(stored_image("rgb.jpg"), stored_image("ycbcr.jpg"), kind)
    assert "holds 2 views, expected one image" in refusal(tmp_path, "a.jpg", content, SIZE)


def test_a_truncated_jpeg_is_refused(tmp_path: Path) -> None:
    content = stored_image("ycbcr.jpg")
    for end in (2, 20, 200, len(content) - 2):
        assert "cannot be read as an image" in refusal(tmp_path, "a.jpg", content[:end], SIZE)


def test_webp_lossless_lossy_with_alpha_and_with_a_profile(tmp_path: Path) -> None:
    size = (4, 6)
    assert_pixels(read(tmp_path, "a.webp", stored_image("lossless.webp"), size), FORMULA)
    assert_pixels(read(tmp_path, "b.webp", stored_image("alpha.webp"), size), on_white(FORMULA, ALPHA))
    assert_pixels(
        read(tmp_path, "c.webp", stored_image("lossy.webp"), (8, 8)), np.full((8, 8, 3), (201, 100, 50))
    )  # according to dwebp
    profiled = webp(stored_image("lossless.webp"), {b"ICCP": gamma_profile(1.8)}, (6, 4))
    assert_pixels(read(tmp_path, "d.webp", profiled, size), srgb_of_gamma(FORMULA, 461 / 256), within=1)
    assert "holds 2 frames" in refusal(tmp_path, "e.webp", stored_image("animated.webp"), size)
    assert "cannot be read as an image" in refusal(tmp_path, "f.webp", stored_image("alpha.webp")[:-20], size)
