"""Reading of PNG files of every kind, written byte by byte: the right pixels, or an error with the reason."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from icc_bytes import cmyk_profile, gamma_profile, grey_profile, srgb_of, srgb_of_gamma, srgb_profile
from image_bytes import chunk, iccp, png
from image_reading import assert_pixels, on_white, read, refusal, to_8_bits
from jpeg_bytes import exif, upright

SIZE = (5, 7)
RNG = np.random.default_rng(0)
RGB8 = RNG.integers(0, 256, (*SIZE, 3))
PALETTE = chunk(b"PLTE", bytes(range(9)))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_grey_of_every_depth_with_a_transparent_value(tmp_path: Path, bits: int, channels: int) -> None:
    maximum = 2**bits - 1
    values = RNG.integers(0, maximum + 1, SIZE)
    assert_pixels(read(tmp_path, "a.png", png(values, bits, 0), SIZE, channels), to_8_bits(values, maximum))
    transparent = int(values[0, 0])
    content = png(values, bits, 0, before=chunk(b"tRNS", struct.pack(">H", transparent)))
    assert_pixels(
        read(tmp_path, "b.png", content, SIZE, channels),
        np.where(values == transparent, 255, to_8_bits(values, maximum)),
    )


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes_of_every_depth_with_alpha(tmp_path: Path, bits: int) -> None:
    colours = RNG.integers(0, 256, (2**bits, 3))
    values = RNG.integers(0, 2**bits, SIZE)
    palette = chunk(b"PLTE", colours.astype(np.uint8).tobytes())
    assert_pixels(read(tmp_path, "a.png", png(values, bits, 3, before=palette), SIZE), colours[values])
    stored_alphas = RNG.integers(0, 256, 2 ** (bits - 1))  # for the first colours; the others are opaque
    alphas = np.concatenate([stored_alphas, np.full(2**bits - len(stored_alphas), 255)])
    content = png(values, bits, 3, before=palette + chunk(b"tRNS", stored_alphas.astype(np.uint8).tobytes()))
    assert_pixels(read(tmp_path, "b.png", content, SIZE), on_white(colours[values], alphas[values]))
    content = png(values, bits, 3, before=palette + chunk(b"tRNS", b"\xff\0"))
    assert_pixels(read(tmp_path, "c.png", content, SIZE), np.where(values[..., None] == 1, 255, colours[values]))


@pytest.mark.parametrize("bits", [8, 16])
def test_colour_and_alpha_of_8_and_16_bits(tmp_path: Path, bits: int) -> None:
    maximum = 2**bits - 1
    values = RNG.integers(0, maximum + 1, (*SIZE, 4))
    shown = to_8_bits(values, maximum)
    colour, alpha = shown[..., :3], shown[..., 3]
    assert_pixels(read(tmp_path, "a.png", png(values[..., :3], bits, 2), SIZE), colour)
    assert_pixels(read(tmp_path, "b.png", png(values, bits, 6), SIZE), on_white(colour, alpha))
    grey = png(values[..., 2:], bits, 4)
    for channels in (1, 3):
        assert_pixels(read(tmp_path, "c.png", grey, SIZE, channels), on_white(colour[..., 2:], alpha))


@pytest.mark.parametrize("bits", [8, 16])
def test_a_transparent_colour_is_compared_at_full_depth(tmp_path: Path, bits: int) -> None:
    maximum = 2**bits - 1
    values = RNG.integers(0, maximum + 1, (*SIZE, 3))
    values[1] = values[0, 0]
    values[1, :, 2] ^= 1  # the nearest colour, which is opaque
    content = png(values, bits, 2, before=chunk(b"tRNS", struct.pack(">3H", *values[0, 0])))
    expected = to_8_bits(values, maximum)
    expected[0, 0] = 255
    assert_pixels(read(tmp_path, "a.png", content, SIZE), expected)


def test_a_palette_must_hold_the_colours(tmp_path: Path) -> None:
    assert "of colour 5, its palette holds 3" in refusal(tmp_path, "a.png", png([[0, 5]], 8, 3, before=PALETTE), (1, 2))
    assert "no palette" in refusal(tmp_path, "b.png", png([[0, 5]], 8, 3), (1, 2))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("bits", [8, 16])
def test_the_orientation_may_precede_or_follow_the_pixels(tmp_path: Path, orientation: int, bits: int) -> None:
    scale = (2**bits - 1) // 255
    with_exif = chunk(b"eXIf", exif(orientation))
    expected = upright(RGB8, orientation)
    for content in (png(RGB8 * scale, bits, 2, before=with_exif), png(RGB8 * scale, bits, 2, after=with_exif)):
        assert_pixels(read(tmp_path, "a.png", content, expected.shape[:2]), expected)


@pytest.mark.parametrize("gamma", [1.8, 2.2])
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_with_a_profile_are_converted_to_srgb(tmp_path: Path, gamma: float, channels: int) -> None:
    power = round(gamma * 256) / 256
    grey = RGB8[..., 0]
    for profile in (grey_profile(gamma), gamma_profile(gamma)):
        content = png(grey, 8, 0, before=iccp(profile))
        assert_pixels(read(tmp_path, "a.png", content, SIZE, channels), srgb_of_gamma(grey, power), within=1)
    content = png(RGB8, 8, 2, before=iccp(gamma_profile(gamma)))
    assert_pixels(read(tmp_path, "b.png", content, SIZE), srgb_of_gamma(RGB8, power), within=1)


def test_other_primaries_are_converted_with_alpha_and_in_a_palette(tmp_path: Path) -> None:
    wide = ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446))  # Adobe RGB (1998)
    profile = iccp(gamma_profile(563 / 256, wide))
    srgb = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))
    matrix = np.linalg.inv(np.array(srgb).T) @ np.array(wide).T
    expected = np.round(srgb_of(((RGB8 / 255) ** (563 / 256)) @ matrix.T))
    assert_pixels(read(tmp_path, "a.png", png(RGB8, 8, 2, before=profile), SIZE), expected, within=1)
    alpha = RNG.integers(0, 256, SIZE)
    content = png(np.concatenate([RGB8, alpha[..., None]], -1), 8, 6, before=profile)
    assert_pixels(read(tmp_path, "b.png", content, SIZE), on_white(expected, alpha), within=2)
    colours = RGB8.reshape(-1, 3)
    palette = profile + chunk(b"PLTE", colours.astype(np.uint8).tobytes())
    content = png(np.arange(35).reshape(SIZE), 8, 3, before=palette)
    assert_pixels(read(tmp_path, "c.png", content, SIZE), expected, within=1)


def test_srgb_profiles_change_nothing(tmp_path: Path) -> None:
    profile = iccp(srgb_profile())
    assert_pixels(read(tmp_path, "a.png", png(RGB8, 8, 2, before=profile), SIZE), RGB8)
    assert_pixels(read(tmp_path, "b.png", png(RGB8[..., 0], 8, 0, before=profile), SIZE, 1), RGB8[..., 0])
    content = png(RGB8 * 257, 16, 2, before=profile)
    assert_pixels(read(tmp_path, "c.png", content, SIZE), RGB8)


@pytest.mark.parametrize(
    ("profile", "bits", "expected"),
    [
        (chunk(b"iCCP", b"profile\0\0not packed"), 8, "damaged colour profile"),
        (iccp(b"junk" * 50), 8, r"profile (ICC) that cannot be used"),
        (iccp(gamma_profile(1.8)[:150]), 8, r"profile (ICC) that cannot be used"),
        (iccp(grey_profile(1.8)), 8, "RGB pixels and a colour profile for GRAY"),
        (iccp(cmyk_profile({})), 8, "RGB pixels and a colour profile for CMYK"),
        (iccp(gamma_profile(1.0)), 16, "16 bits and a profile that needs them"),
    ],
)
def test_profiles_that_cannot_be_used(tmp_path: Path, profile: bytes, bits: int, expected: str) -> None:
    assert expected in refusal(tmp_path, "a.png", png(RGB8, bits, 2, before=profile), SIZE)


SRGB_CHRM = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
WIDE_CHRM = (31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        (chunk(b"gAMA", struct.pack(">I", 45455)) + chunk(b"cHRM", struct.pack(">8I", *SRGB_CHRM)), None),
        (chunk(b"gAMA", struct.pack(">I", 100000)), "the gamma 1.00000 (chunk gAMA)"),
        (chunk(b"cHRM", struct.pack(">8I", *WIDE_CHRM)), "other primaries than sRGB (chunk cHRM)"),
        (chunk(b"sRGB", b"\0") + chunk(b"gAMA", struct.pack(">I", 100000)), None),
        (chunk(b"cICP", bytes((1, 13, 0, 1))), None),
        (chunk(b"cICP", bytes((9, 16, 0, 1))), "of another space than sRGB (chunk cICP)"),
    ],
)
def test_colour_chunks_state_srgb_or_are_refused(tmp_path: Path, chunks: bytes, expected: str | None) -> None:
    content = png(RGB8, 8, 2, before=chunks)
    if expected:
        assert expected in refusal(tmp_path, "a.png", content, SIZE)
    else:
        assert_pixels(read(tmp_path, "a.png", content, SIZE), RGB8)


def frame(number: int) -> bytes:
    return chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, 7, 5, 0, 0, 1, 10, 0, 0))


def test_an_animation_of_one_frame_is_read(tmp_path: Path) -> None:
    one = png(RGB8, 8, 2, before=chunk(b"acTL", struct.pack(">II", 1, 0)) + frame(0))
    assert_pixels(read(tmp_path, "a.png", one, SIZE), RGB8)
    data = zlib.compress(b"".join(b"\0" + bytes(21) for _ in range(5)))
    second = frame(1) + chunk(b"fdAT", struct.pack(">I", 2) + data)
    two = png(RGB8, 8, 2, before=chunk(b"acTL", struct.pack(">II", 2, 0)) + frame(0), after=second)
    assert "holds 2 frames, expected one image" in refusal(tmp_path, "b.png", two, SIZE)


def test_unreadable_exif_is_a_warning(tmp_path: Path) -> None:
    content = png(RGB8, 8, 2, before=chunk(b"eXIf", b"nothing of the kind"))
    with pytest.warns(UserWarning, match=r"a\.png has Exif data that cannot be read"):
        assert_pixels(read(tmp_path, "a.png", content, SIZE), RGB8)
