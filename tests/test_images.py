"""Reading and writing of image files, and errors for files that cannot be read."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from latentloop import images
from latentloop.errors import InputError, OutputError
from latentloop.images.writing import check_image_path, grid_shape

GREY, RGB = (4, 6, 1), (4, 6, 3)
NOISE = np.random.default_rng(0).integers(0, 256, RGB, np.uint8)


def saved(path: Path, pixels: Any, **options: Any) -> Path:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)
    return path


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".ppm", ".webp"])
def test_rgb_is_read_exactly(tmp_path: Path, suffix: str) -> None:
    options = {"lossless": True} if suffix == ".webp" else {}
    path = saved(tmp_path / f"a{suffix}", NOISE, **options)
    assert np.array_equal(images.read_images([path], RGB), NOISE[None])


def test_colour_becomes_grey_by_luma_and_grey_becomes_rgb(tmp_path: Path) -> None:
    colour = saved(tmp_path / "a.png", np.full(RGB, (255, 0, 0), np.uint8))
    grey = saved(tmp_path / "b.png", NOISE[:, :, 0])
    assert np.all(images.read_images([colour], GREY) == 76)  # 0.299 * 255
    assert np.array_equal(images.read_images([grey], GREY)[0, :, :, 0], NOISE[:, :, 0])
    assert np.array_equal(images.read_images([grey], RGB)[0], NOISE[:, :, :1].repeat(3, 2))


def test_transparent_pixels_are_laid_on_white(tmp_path: Path) -> None:
    transparent = np.zeros((4, 6, 4), np.uint8)
    transparent[0, 0] = (10, 20, 30, 255)
    transparent[0, 1] = (0, 0, 0, 51)
    pixels = images.read_images([saved(tmp_path / "a.png", transparent)], RGB)[0]
    assert pixels[0, 0].tolist() == [10, 20, 30]
    assert pixels[0, 1].tolist() == [204] * 3
    assert np.all(pixels[1:] == 255)
    palette = Image.fromarray(np.zeros((4, 6), np.uint8)).convert("P")
    pixels = images.read_images([saved(tmp_path / "b.png", palette, transparency=0)], GREY)
    assert np.all(pixels == 255)


def test_16_bits_are_rounded_to_8(tmp_path: Path) -> None:
    values = np.tile(np.array([0, 128, 129, 257, 30000, 65535], np.uint16), (4, 1))
    pixels = images.read_images([saved(tmp_path / "a.png", values)], GREY)
    assert pixels[0, 0, :, 0].tolist() == [0, 0, 1, 1, 117, 255]


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    path = saved(tmp_path / "a.png", np.rot90(NOISE), exif=exif)
    assert np.array_equal(images.read_images([path], RGB)[0], NOISE)


def test_resize_crops_the_centre(tmp_path: Path) -> None:
    wide = np.zeros((8, 40, 3), np.uint8)
    wide[:, 8:32] = 200  # the crop to 4:6 keeps columns 14 to 25; the filter reads six more on each side
    path = saved(tmp_path / "a.png", wide)
    assert np.all(images.read_images([path], RGB, resize=True) == 200)


def test_a_directory_stands_for_its_images_in_sorted_order(tmp_path: Path) -> None:
    for value, name in enumerate(["b.png", "a.PNG", "c.png"]):
        saved(tmp_path / name, np.full(RGB, value, np.uint8))
    (tmp_path / "notes.txt").write_text("not an image")
    pixels = images.read_images([tmp_path, tmp_path / "c.png"], RGB)
    assert pixels[:, 0, 0, 0].tolist() == [1, 0, 2, 2]


def test_the_error_for_another_size_states_both_sizes_and_a_remedy(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", np.zeros((5, 7, 3), np.uint8))
    with pytest.raises(InputError, match=r"a\.png has 5 x 7 pixels .* expected 4 x 6; --resize crops"):
        images.read_images([path], RGB)


def truncated(path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(NOISE).save(buffer, "PNG")
    path.write_bytes(buffer.getvalue()[:-30])


def bomb(path: Path) -> None:
    saved(path, np.zeros((30, 40), np.uint8))


def floating(path: Path) -> None:
    saved(path, np.zeros((4, 6), np.float32), format="TIFF")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "holds no images"),
        (lambda path: path.write_bytes(b""), "cannot be read as an image"),
        (
            lambda path: path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 4\n"),
            "cannot be read as an image",
        ),
        (truncated, "cannot be read as an image"),
        (bomb, "decompression bomb"),
        (floating, "floating-point"),
    ],
)
def test_hostile_files_are_input_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], object], message: str
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # Pillow warns above this, and raises above twice this
    path = tmp_path / "a.png"
    make(path)
    with pytest.raises(InputError, match=rf"a\.png.*{message}"):
        images.read_images([path], RGB, resize=True)


@pytest.mark.parametrize("channels", [1, 3])
def test_grid_arranges_every_pixel(channels: int) -> None:
    numbered = np.arange(1, 6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 3, channels), np.uint8)
    grid = images.grid(numbered, columns=3, scale=2, gap=1)
    assert grid.shape == (9, 20, channels) == grid_shape(5, 3, 2, (2, 3, channels), 1)
    expected = np.full((9, 20), 255)
    for index in range(5):
        top, left = index // 3 * 5, index % 3 * 7
        expected[top : top + 4, left : left + 6] = index + 1
    assert np.array_equal(grid, np.repeat(expected[:, :, None], channels, 2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"columns": 0}, "columns is 0, expected an integer from 1"),
        ({"columns": 2.5}, r"columns is 2\.5, expected an integer from 1"),
        ({"columns": 1, "scale": 0}, "scale is 0, expected an integer from 1"),
        ({"columns": 1, "gap": -1}, "gap is -1, expected an integer from 0"),
        ({"columns": 1, "images": NOISE}, r"images are \(.*\), expected an array \[N, H, W, C\]"),
        ({"columns": 1, "images": NOISE[None][:0]}, "of at least one"),
        ({"columns": 1, "images": []}, "images are list, expected an array"),
    ],
)
def test_a_grid_of_wrong_arguments_is_an_error(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        images.grid(**{"images": NOISE[None], **arguments})


@pytest.mark.parametrize(("names", "difference"), [(["a.png"], "more"), (["a.png", "b.png", "c.png"], "fewer")])
def test_as_many_names_as_images_are_required(tmp_path: Path, names: list[str], difference: str) -> None:
    with pytest.raises(InputError, match=f"there are {difference} images than names"):
        images.write_images(tmp_path / "folder", [NOISE, NOISE], names)
    assert not list(tmp_path.iterdir())


def test_grid_is_not_wider_than_its_images() -> None:
    assert images.grid(NOISE[None], columns=5).shape == RGB


@pytest.mark.parametrize(("name", "shape"), [("a.png", RGB), ("a.png", GREY), ("a.webp", RGB)])
def test_written_images_are_read_back(tmp_path: Path, name: str, shape: tuple[int, int, int]) -> None:
    pixels = NOISE[:, :, : shape[2]]
    images.write_image(tmp_path / name, pixels)
    for paths in ([tmp_path / name], tmp_path / name, str(tmp_path / name), [str(tmp_path / name)]):
        assert np.array_equal(images.read_images(paths, shape)[0], pixels)


@pytest.mark.parametrize("name", ["a.gif", "a", "a.tiff"])
def test_unsupported_suffix(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"expected one of \.png"):
        images.write_image(tmp_path / name, NOISE)
    assert not list(tmp_path.iterdir())


def test_images_too_large_for_the_format() -> None:
    for name in ("a.jpg", "a.webp"):
        with pytest.raises(InputError, match=r"1 x 70000 pixels.*use \.png"):
            check_image_path(Path(name), (1, 70000, 3))
    check_image_path(Path("a.png"), (1, 70000, 3))


def test_a_folder_is_written_completely_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = Image.Image.save

    def full(self: Image.Image, path: Path, **options: Any) -> None:
        if path.name == "1.png":
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(self, path, **options)

    two = np.stack([NOISE, NOISE])
    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", full)
        with pytest.raises(OutputError, match="No space left"):
            images.write_images(tmp_path / "folder", two, ["0.png", "1.png"])
    assert not list(tmp_path.iterdir())
    images.write_images(tmp_path / "folder", two, ["0.png", "1.png"])
    assert np.array_equal(images.read_images([tmp_path / "folder"], RGB), two)


def test_force_replaces_only_folders_of_earlier_results(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    images.write_images(folder, NOISE[None], ["00000-coat-seed1.png"])
    with pytest.raises(OutputError, match="exists"):
        images.write_images(folder, NOISE[None], ["new.png"])
    images.write_images(folder, NOISE[None], ["00001.png"], force=True)
    assert [file.name for file in folder.iterdir()] == ["00001.png"]
    for name in ("thesis.txt", "holiday.png", "2026-holiday.png"):
        (folder / name).write_text("precious")
        with pytest.raises(OutputError, match=f"also holds {name}"):
            images.write_images(folder, NOISE[None], ["00002.png"], force=True)
        assert (folder / name).read_text() == "precious"
        (folder / name).unlink()
    for name in ("00002.png", "000001.jpg", "00002-coat-seed1.webp"):  # named like LatentLoop's images or a data set's
        saved(folder / name, NOISE)
        with pytest.raises(OutputError, match=f"also holds {name}"):
            images.write_images(folder, NOISE[None], ["00002.png"], force=True)
        (folder / name).unlink()
    (folder / "00001.png").rename(folder / "favourite.png")
    with pytest.raises(OutputError, match=r"also holds favourite\.png"):
        images.write_images(folder, NOISE[None], ["00002.png"], force=True)
    (tmp_path / "file").write_text("precious")
    with pytest.raises(OutputError, match="not a folder"):
        images.write_images(tmp_path / "file", NOISE[None], ["newer.png"], force=True)


def test_a_grid_too_large_for_any_memory_is_an_error() -> None:
    with pytest.raises(InputError, match=r"6400000 x 12800002 pixels, too many"):
        check_image_path(Path("a.png"), grid_shape(2, 2, 200_000, (32, 32, 3)))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (NOISE[None], r"image has shape \[1, \d+, \d+, 3\], expected \[H, W, C\] with C 1 or 3"),
        (NOISE[:, :, 0], r"image has shape \[\d+, \d+\], expected"),
        (NOISE[:, :, :2], r"image has shape \[\d+, \d+, 2\], expected"),
        (NOISE[:0], r"image has shape \[0, \d+, 3\], expected .* H and W over 0"),
        (NOISE / 255, "image is of float64, expected an array of uint8"),
        ([[0]], "image is of list, expected an array of uint8"),
    ],
)
def test_only_images_are_written(tmp_path: Path, image: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        images.write_image(str(tmp_path / "a.png"), image)
    with pytest.raises(InputError, match=message):
        images.write_images(str(tmp_path / "folder"), [NOISE, image], ["0.png", "1.png"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../a.png", "b/a.png", "/a.png"])
def test_a_folder_of_images_is_written_inside_that_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="is not the name of a file in "):
        images.write_images(tmp_path / "folder", [NOISE], [name])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: images.read_images(3, (4, 4, 3)), "paths is 3, expected a str or a Path, or several"),  # type: ignore
        (lambda: images.read_images([3], (4, 4, 3)), "one of paths is 3, expected a str or a Path"),  # type: ignore
        (lambda: images.read_images("a.png", 64), r"shape is 64, expected \(height, width, chan"),  # type: ignore
        (lambda: images.read_images("a.png", (4, 4)), r"shape is \(4, 4\), expected \("),  # type: ignore
        (lambda: images.read_images("a.png", (4, 4, 4)), r"shape is \(4, 4, 4\), .* 1 or 3 channels"),
        (lambda: images.write_image(3, NOISE), "path is 3, expected a str or a Path: the file to write"),  # type: ignore
        (lambda: images.write_images(3, [NOISE], ["a.png"]), "folder is 3, expected a str or a Path"),  # type: ignore
        (lambda: images.write_images("a", None, ["a.png"]), "images is None, expected arrays"),  # type: ignore
        (lambda: images.write_images("a", [NOISE], None), "names is None, expected names of files"),  # type: ignore
        (lambda: images.write_images("a", [NOISE], [3]), "3 is not the name of a file in a"),  # type: ignore
        (lambda: images.write_animation(3, [NOISE]), "path is 3, expected a str or a Path"),  # type: ignore
        (lambda: images.write_animation("a.png", None), "frames is None, expected arrays"),  # type: ignore
    ],
)
def test_arguments_of_a_wrong_type_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[[], object], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"^{message}"):
        call()
    assert list(tmp_path.iterdir()) == []
