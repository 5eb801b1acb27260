"""Reading of BMP, GIF, PBM, PGM and PPM files of every kind, written byte by byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from icc_bytes import gamma_profile, srgb_of_gamma
from image_bytes import bmp, gif, packed
from image_reading import assert_pixels, on_white, read, refusal, to_8_bits

HEIGHT, WIDTH = SIZE = (5, 7)
RNG = np.random.default_rng(0)
RGB8 = RNG.integers(0, 256, (*SIZE, 3))
COLOURS = RNG.integers(0, 256, (256, 3))
PALETTE = [(int(red), int(green), int(blue)) for red, green, blue in COLOURS]
BLUE_FIRST = [2, 1, 0]


def from_bottom(values: np.ndarray, bits: int) -> bytes:
    """Returns the rows as a BMP stores them: from the bottom, each padded to 4 bytes."""
    return packed(values[::-1], bits, "<", pad=4)


@pytest.mark.parametrize("header", [12, 40, 108, 124])
@pytest.mark.parametrize("bits", [1, 4, 8])
def test_bmp_palettes_with_every_header(tmp_path: Path, bits: int, header: int) -> None:
    values = RNG.integers(0, 2**bits, SIZE)
    content = bmp(from_bottom(values, bits), WIDTH, HEIGHT, bits, palette=PALETTE[: 2**bits], header=header)
    assert_pixels(read(tmp_path, "a.bmp", content, SIZE), COLOURS[values])


def test_bmp_grey_palettes(tmp_path: Path) -> None:
    values = RNG.integers(0, 256, SIZE)
    ramp = [(n, n, n) for n in range(256)]
    assert_pixels(read(tmp_path, "a.bmp", bmp(from_bottom(values, 8), WIDTH, HEIGHT, 8, palette=ramp), SIZE), values)
    refused = "uncommon palette: convert it to PNG"
    assert refused in refusal(
        tmp_path, "b.bmp", bmp(from_bottom(values % 16, 4), WIDTH, HEIGHT, 4, palette=ramp[:16]), SIZE
    )
    black_white = [(0, 0, 0), (255, 255, 255)]
    for bits in (4, 8):
        content = bmp(from_bottom(values % 2, bits), WIDTH, HEIGHT, bits, palette=black_white)
        assert refused in refusal(tmp_path, "c.bmp", content, SIZE)
    assert_pixels(
        read(tmp_path, "d.bmp", bmp(from_bottom(values % 2, 1), WIDTH, HEIGHT, 1, palette=black_white), SIZE),
        values % 2 * 255,
    )
    assert_pixels(
        read(tmp_path, "e.bmp", bmp(from_bottom(values % 2, 1), WIDTH, HEIGHT, 1, palette=black_white[::-1]), SIZE),
        255 - values % 2 * 255,
    )


def test_a_bmp_palette_must_hold_the_colours(tmp_path: Path) -> None:
    content = bmp(from_bottom(np.full(SIZE, 3), 8), WIDTH, HEIGHT, 8, palette=PALETTE[:3])
    assert "of colour 3, its palette holds 3" in refusal(tmp_path, "a.bmp", content, SIZE)


@pytest.mark.parametrize("header", [40, 108, 124])
def test_bmp_colour_and_alpha_with_every_header(tmp_path: Path, header: int) -> None:
    content = bmp(from_bottom(RGB8[..., BLUE_FIRST], 8), WIDTH, HEIGHT, 24, header=header)
    assert_pixels(read(tmp_path, "a.bmp", content, SIZE), RGB8)
    from_top = bmp(from_bottom(RGB8[::-1][..., BLUE_FIRST], 8), WIDTH, -HEIGHT, 24, header=header)
    assert_pixels(read(tmp_path, "b.bmp", from_top, SIZE), RGB8)
    values = RNG.integers(0, 256, (*SIZE, 4))
    pixels = from_bottom(values[..., [2, 1, 0, 3]], 8)
    assert_pixels(read(tmp_path, "c.bmp", bmp(pixels, WIDTH, HEIGHT, 32, header=header), SIZE), values[..., :3])
    masks = (0xFF0000, 0xFF00, 0xFF)
    content = bmp(pixels, WIDTH, HEIGHT, 32, compression=3, masks=masks, header=header)
    assert_pixels(read(tmp_path, "d.bmp", content, SIZE), values[..., :3])
    if header > 40:
        content = bmp(pixels, WIDTH, HEIGHT, 32, compression=3, masks=(*masks, 0xFF000000), header=header)
        assert_pixels(read(tmp_path, "e.bmp", content, SIZE), on_white(values[..., :3], values[..., 3]))


def test_bmp_with_16_bits_per_pixel(tmp_path: Path) -> None:
    values = RNG.integers(0, 65536, (40, 50))
    size, pixels = (40, 50), from_bottom(values, 16)
    rgb555 = np.stack([to_8_bits(values >> shift & 31, 31) for shift in (10, 5, 0)], -1)
    assert_pixels(read(tmp_path, "a.bmp", bmp(pixels, 50, 40, 16), size), rgb555)
    masked = bmp(pixels, 50, 40, 16, compression=3, masks=(0x7C00, 0x3E0, 0x1F))
    assert_pixels(read(tmp_path, "b.bmp", masked, size), rgb555)
    rgb565 = np.stack([to_8_bits(values >> 11, 31), to_8_bits(values >> 5 & 63, 63), to_8_bits(values & 31, 31)], -1)
    assert_pixels(
        read(tmp_path, "c.bmp", bmp(pixels, 50, 40, 16, compression=3, masks=(0xF800, 0x7E0, 0x1F)), size), rgb565
    )
    alpha = bmp(pixels, 50, 40, 16, compression=3, masks=(0x7C00, 0x3E0, 0x1F, 0x8000), header=108)
    assert "16 bits per pixel with alpha" in refusal(tmp_path, "d.bmp", alpha, size)
    other = bmp(pixels, 50, 40, 16, compression=3, masks=(0xF00, 0xF0, 0xF))
    assert "bitfields layout" in refusal(tmp_path, "e.bmp", other, size)


def test_run_length_encoded_bmp(tmp_path: Path) -> None:
    runs = b"\x07\x01\0\0" + b"\0\x05\x01\x02\x03\x04\x05\0" + b"\x02\x06\0\1"
    content = bmp(runs, 7, 2, 8, compression=1, palette=PALETTE)
    assert_pixels(read(tmp_path, "a.bmp", content, (2, 7)), COLOURS[[[1, 2, 3, 4, 5, 6, 6], [1] * 7]])
    content = bmp(b"\x07\x12\0\1", 7, 1, 4, compression=2, palette=PALETTE[:16])
    assert_pixels(read(tmp_path, "b.bmp", content, (1, 7)), COLOURS[[[1, 2, 1, 2, 1, 2, 1]]])
    assert "not enough image data" in refusal(
        tmp_path, "c.bmp", bmp(runs, 7, 3, 8, compression=1, palette=PALETTE), (3, 7)
    )


def test_bmp_profiles(tmp_path: Path) -> None:
    pixels = from_bottom(RGB8[..., BLUE_FIRST], 8)
    embedded = bmp(pixels, WIDTH, HEIGHT, 24, header=124, profile=gamma_profile(1.8), space=b"MBED")
    assert_pixels(read(tmp_path, "a.bmp", embedded, SIZE), srgb_of_gamma(RGB8, 461 / 256), within=1)
    linked = bmp(pixels, WIDTH, HEIGHT, 24, header=124, profile=b"c:\\a.icc", space=b"LINK")
    assert "names a file with its colour profile" in refusal(tmp_path, "b.bmp", linked, SIZE)
    assert "damaged colour profile" in refusal(
        tmp_path, "c.bmp", bmp(pixels, WIDTH, HEIGHT, 24, header=124, space=b"MBED"), SIZE
    )


GREY_PALETTE = [(n, n, n) for n in range(4)]


@pytest.mark.parametrize("palette", [PALETTE[:4], GREY_PALETTE])
def test_gif_with_a_transparent_colour_and_a_larger_screen(tmp_path: Path, palette: list[tuple[int, int, int]]) -> None:
    values = RNG.integers(0, 4, SIZE)
    shown = np.array(palette)[values]
    assert_pixels(read(tmp_path, "a.gif", gif(values, palette), SIZE), shown)
    transparent_shown = np.where(values[..., None] == 2, 255, shown)
    assert_pixels(read(tmp_path, "b.gif", gif(values, palette, transparent=2), SIZE), transparent_shown)
    for name, transparent, inside in (("c.gif", None, shown), ("d.gif", 2, transparent_shown)):
        screen = np.full((HEIGHT + 3, WIDTH + 2, 3), 255)
        screen[2 : 2 + HEIGHT, 1 : 1 + WIDTH] = inside
        content = gif(values, palette, transparent=transparent, screen=(WIDTH + 2, HEIGHT + 3), offset=(1, 2))
        assert_pixels(read(tmp_path, name, content, (HEIGHT + 3, WIDTH + 2)), screen)


def test_gifs_that_are_refused(tmp_path: Path) -> None:
    values = RNG.integers(0, 4, SIZE)
    assert "holds 3 frames" in refusal(tmp_path, "a.gif", gif(values, PALETTE[:4], frames=3), SIZE)
    assert "its palette holds 4 colours" in refusal(tmp_path, "b.gif", gif(values + 2, PALETTE[:4]), SIZE)
    content = gif(values, GREY_PALETTE)
    without_palette = content[:10] + bytes([content[10] & 0x7F]) + content[11:13] + content[25:]
    assert "no palette" in refusal(tmp_path, "c.gif", without_palette, SIZE)


@pytest.mark.parametrize("maximum", [1, 15, 254, 255, 256, 1023, 4095, 65535])
def test_pgm_and_ppm_of_every_maximum(tmp_path: Path, maximum: int) -> None:
    kind = ">u2" if maximum > 255 else "u1"
    for magic, name, shape in ((b"P5", "a.pgm", SIZE), (b"P6", "b.ppm", (*SIZE, 3))):
        values = RNG.integers(0, maximum + 1, shape)
        content = magic + b"\n7 5\n%d\n" % maximum + values.astype(kind).tobytes()
        assert_pixels(read(tmp_path, name, content, SIZE), to_8_bits(values, maximum))
        assert "holds several images" in refusal(tmp_path, name, content + content, SIZE)
    values = RNG.integers(0, maximum + 1, SIZE)
    plain = b"P2 # by hand\n7 5\n%d\n" % maximum + " ".join(map(str, values.ravel())).encode()
    assert_pixels(read(tmp_path, "c.pgm", plain, SIZE), to_8_bits(values, maximum))


@pytest.mark.parametrize("end", [b"\n", b"\r", b" # P2\n"])
@pytest.mark.parametrize(("magic", "maximum"), [(b"P1", 1), (b"P2", 255), (b"P2", 65535), (b"P3", 255), (b"P3", 1023)])
def test_plain_text_files_of_several_images_are_refused(tmp_path: Path, magic: bytes, maximum: int, end: bytes) -> None:
    values = RNG.integers(0, maximum + 1, (*SIZE, 3) if magic == b"P3" else SIZE)
    header = magic + b" # P5 P6\n7 # P1\n5\n" + (b"%d\n" % maximum if maximum > 1 else b"")
    content = header + b"# of P3\n" + b" ".join(b"%d" % value for value in values.ravel()) + end
    assert_pixels(
        read(tmp_path, "a.ppm", content, SIZE), 255 - 255 * values if maximum == 1 else to_8_bits(values, maximum)
    )
    for second in (content, b"P5 1 1 255 a", b"P4\n1 1\na", b"P2#\n1 1 1 1", b"P6"):
        assert "holds several images" in refusal(tmp_path, "b.ppm", content + second, SIZE)
    if magic == b"P1":
        digits_without_spaces = b"P1 7 5\n" + bytes(48 + value for value in values.ravel())
        assert_pixels(read(tmp_path, "c.ppm", digits_without_spaces, SIZE), 255 - 255 * values)
        assert "holds several images" in refusal(tmp_path, "d.ppm", digits_without_spaces + content, SIZE)


def test_floating_point_and_cmyk_are_refused_and_binary_pbm_is_read(tmp_path: Path) -> None:
    assert "floating-point" in refusal(tmp_path, "a.pgm", b"Pf\n7 5\n-1.0\n" + bytes(140), SIZE)
    assert "CMYK" in refusal(tmp_path, "b.ppm", b"P0CMYK\n7 5\n255\n" + bytes(140), SIZE)
    values = RNG.integers(0, 2, SIZE)
    assert_pixels(read(tmp_path, "c.pgm", b"P4\n7 5\n" + packed(values, 1), SIZE), 255 - 255 * values)
