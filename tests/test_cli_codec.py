"""`latentloop encode`, `decode` and `reconstruct`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import RGB, codes, pixels, run
from PIL import Image

from latentloop import Bundle, Sampler
from latentloop.cli import progress
from latentloop.images import read_images


def test_encode_then_decode(
    small_bundle: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "codes.npz"
    assert run("encode", photos, photos / "0.png", "--bundle", small_bundle, "--out", out) == 0
    assert "codes of 4 images (top 4 x 6, bottom 8 x 12)" in capsys.readouterr().out
    arrays = codes(out)
    assert arrays["files"].tolist() == [str(photos / name) for name in ("0.png", "1.png", "2.png", "0.png")]
    assert arrays["top"].shape == (4, 4, 6)
    assert arrays["bottom"].shape == (4, 8, 12)
    assert np.array_equal(arrays["bottom"][0], arrays["bottom"][3])
    assert run("decode", out, "--bundle", small_bundle, "--out", f"{tmp_path}/decoded/", "--json") == 0
    assert json.loads(capsys.readouterr().out)["images"] == 4
    assert len(list((tmp_path / "decoded").glob("*.png"))) == 4
    assert run("reconstruct", photos, "--bundle", small_bundle, "--out", f"{tmp_path}/reconstructed/") == 0
    for name in ("00000.png", "00001.png", "00002.png"):
        assert np.array_equal(pixels(tmp_path / "decoded" / name), pixels(tmp_path / "reconstructed" / name))


def test_reconstruct_reports_the_error_and_writes_pairs(
    small_bundle: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "pairs.png"
    arguments = ("--columns", 2, "--scale", 1, "--out", out, "--json")
    assert run("reconstruct", photos, "--bundle", small_bundle, *arguments) == 0
    summary = json.loads(capsys.readouterr().out)
    grid = pixels(out)
    assert grid.shape == (4 * 34 - 2, 2 * 50 - 2, 3)
    originals, reconstructed = read_images([photos], RGB), []
    for index in range(3):
        top, left = index // 2 * 2 * 34, index % 2 * 50
        assert np.array_equal(grid[top : top + 32, left : left + 48], originals[index])
        reconstructed.append(grid[top + 34 : top + 66, left : left + 48])
    error = np.mean((originals / 255 - np.array(reconstructed) / 255) ** 2)
    assert summary["mean_squared_error"] == pytest.approx(error)
    assert summary["psnr_db"] == pytest.approx(-10 * np.log10(error))
    assert run("reconstruct", photos, "--bundle", small_bundle) == 0
    assert f"mean squared error {error:.6f}, PSNR" in capsys.readouterr().out


def test_wrong_image_size(small_bundle: Path, tmp_path: Path, fails: Callable[..., str]) -> None:
    Image.new("RGB", (10, 20)).save(tmp_path / "a.png")
    out = tmp_path / "a.npz"
    for command in (("encode", "--out", out), ("reconstruct",)):
        message = fails(2, *command, tmp_path / "a.png", "--bundle", small_bundle)
        assert "a.png has 20 x 10 pixels (height x width), expected 32 x 48; --resize" in message
    assert not out.exists()
    assert run("encode", tmp_path / "a.png", "--bundle", small_bundle, "--resize", "--out", out) == 0


class Payload:
    """Creates a file when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return Path.touch, ("pickled-code-ran",)  # type: ignore[return-value]


TOP, BOTTOM = np.zeros((2, 4, 6), np.int64), np.zeros((2, 8, 12), np.int64)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"top": np.array([Payload()]), "bottom": BOTTOM}, "cannot be read as an .npz file"),
        ({"top": TOP}, "codes of the level 'bottom' are missing"),
        ({"top": TOP, "bottom": BOTTOM, "middle": TOP}, "there is no level 'middle'"),
        ({"top": TOP + 0.5, "bottom": BOTTOM}, "dtype float64, expected integers"),
        ({"top": TOP + 11, "bottom": BOTTOM}, "range from 11 to 11, expected -1 to 10"),
        ({"top": TOP[:1], "bottom": BOTTOM}, "codes of bottom have shape [2, 8, 12], expected [1, 8, 12]"),
        ({"top": TOP[0], "bottom": BOTTOM}, "codes of top have shape [4, 6]"),
        ({"top": TOP[:0], "bottom": BOTTOM[:0]}, "holds codes of no image"),
        (None, "cannot be read: No such file"),
        (b"", "cannot be read as an .npz file"),
        (b"PK\x03\x04 and then nonsense", "cannot be read as an .npz file"),
        (np.zeros(3, np.int64), "holds one array, expected an .npz file"),
        (b"\x93NUMPY", "cannot be read as an .npz file"),
    ],
)
def test_invalid_and_malicious_codes_are_refused(
    small_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fails: Callable[..., str],
    arrays: dict[str, np.ndarray] | np.ndarray | bytes | None,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "codes.npz"
    if isinstance(arrays, bytes):
        path.write_bytes(arrays)
    elif isinstance(arrays, np.ndarray):
        with path.open("wb") as file:
            np.save(file, arrays)
    elif arrays is not None:
        np.savez(path, **arrays)  # type: ignore[arg-type]
    error = fails(2, "decode", path, "--bundle", small_bundle, "--out", "a.png")
    assert message in error
    assert "codes.npz" in error
    assert {file.name for file in tmp_path.iterdir()} <= {"codes.npz"}


def test_results_do_not_depend_on_the_progress_updates(grey_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = Sampler(Bundle.open(grey_bundle))
    images = np.random.default_rng(0).integers(0, 256, (7, 16, 16, 1), dtype=np.uint8)
    monkeypatch.setattr(progress, "PART", 3)
    encoded = progress.encode(sampler, images)
    for level, expected in sampler.encode(images).items():
        np.testing.assert_array_equal(encoded[level], expected)
    np.testing.assert_array_equal(progress.decode(sampler, encoded), sampler.decode(encoded))


def test_a_grid_of_many_reconstructions_shows_some_of_them(
    grey_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(130):
        Image.new("L", (16, 16), index).save(tmp_path / f"{index:03}.png")
    out = tmp_path / "pairs.png"
    assert run("reconstruct", tmp_path, "--bundle", grey_bundle, "--scale", 1, "--out", out) == 0
    assert "pairs.png: 64 of them, each row of originals above its reconstructions" in capsys.readouterr().out
    grid = pixels(out)
    assert grid.shape == (16 * 18 - 2, 8 * 18 - 2)  # 8 rows of 8 pairs, with 2 pixels between images
    shown = [grid[row * 36, column * 18] for row in range(8) for column in range(8)]
    assert shown == [index * 130 // 64 for index in range(64)]


@pytest.mark.parametrize(
    ("command", "source", "expected"),
    [
        ("encode", "codes.npz", "it is an archive of NumPy arrays; `latentloop decode` makes images of codes"),
        ("decode", ".", "or use `latentloop reconstruct` for folders of images"),
    ],
)
def test_the_right_command_is_named(
    grey_bundle: Path, tmp_path: Path, fails: Callable[..., str], command: str, source: str, expected: str
) -> None:
    np.savez(tmp_path / "codes.npz", top=np.zeros((1, 2, 2), int))
    out = tmp_path / ("out.npz" if command == "encode" else "out.png")
    assert expected in fails(2, command, tmp_path / source, "--bundle", grey_bundle, "--out", out)
