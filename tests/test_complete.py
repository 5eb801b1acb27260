"""`latentloop complete`: what it keeps, draws and writes, and what it refuses."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import RGB, codes, pixels, run
from conftest import CLASS_NAMES, _checkpoint, vqvae_checkpoint
from corrupted_bundles import edit_manifest
from documented_python import blocks
from made_once import made_once
from PIL import Image
from random_models import SMALL

from latentloop import Bundle, InputError, Sampler, keep_rows
from latentloop.cli.completion import check_some_are_kept
from latentloop.cli.image_inputs import ImageInputs
from latentloop.export.bundle import BundleSource, write_bundle
from latentloop.export.configuration import PriorConfig
from latentloop.images import read_images
from latentloop.io.codes_file import open_codes, write_codes
from latentloop.sampling.kept_codes import codes_in_rows, first_codes
from latentloop.sampling.results import Progress, Samples
from latentloop.sampling.runs import Runs

Complete = Callable[..., dict[str, Any]]


@pytest.fixture
def complete(small_bundle: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> Complete:
    """Runs `latentloop complete`, which must succeed; returns its summary with the text on stderr."""

    def call(*arguments: object, images: tuple[Path, ...] = (photos,)) -> dict[str, Any]:
        assert run("complete", *images, "--bundle", small_bundle, "--json", *arguments) == 0
        out, err = capsys.readouterr()
        return {**json.loads(out), "stderr": err}

    return call


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Samples]:
    """The samples that the sampler has drawn."""
    results: list[Samples] = []
    draw = Runs.draw

    def recorded(self: Runs, *arguments: Any) -> Samples:
        results.append(draw(self, *arguments))
        return results[-1]

    monkeypatch.setattr(Runs, "draw", recorded)
    return results


@pytest.fixture(scope="session")
def classless_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small bundle's sizes, without classes."""
    above: dict[str, Any] = {"condition_codes": 11, "condition_channels": 6, "condition_blocks": 2}
    priors = [PriorConfig(4, 6, kernel=3, **SMALL), PriorConfig(8, 12, kernel=3, attention=False, **above, **SMALL)]
    source = BundleSource(vqvae_checkpoint(image_channels=3), [_checkpoint(config) for config in priors])
    return made_once(tmp_path_factory, "classless", lambda path: write_bundle(path, source))


# ---- What is drawn


@pytest.mark.parametrize(
    ("option", "value", "kept"),
    [
        ("--rows", "0.5", {"top": 12, "bottom": 48}),
        ("--rows", "0.6", {"top": 12, "bottom": 48}),
        ("--rows", "top=1", {"top": 24, "bottom": 0}),
        ("--rows", "top=1,bottom=0.25", {"top": 24, "bottom": 24}),
        ("--first-codes", "top=20,bottom=7", {"top": 20, "bottom": 7}),
    ],
)
def test_the_first_codes_are_kept_and_the_others_drawn(
    complete: Complete,
    drawn: list[Samples],
    small_bundle: Path,
    photos: Path,
    tmp_path: Path,
    option: str,
    value: str,
    kept: dict[str, int],
) -> None:
    # The small bundle's random priors are nearly certain of their codes, but not at this temperature.
    options = ("-n", 3, "--seed", 5, "--label", "bag", "--temperature", 50, "--out", tmp_path / "a.png")
    summary = complete(option, value, *options)
    assert summary["kept_codes"] == kept
    assert summary["stderr"] == ""
    encoded = Sampler(Bundle.open(small_bundle)).encode(read_images([photos], RGB))
    for level, count in kept.items():
        given = encoded[level].reshape(3, -1).repeat(3, 0)
        found = drawn[0].codes[level].reshape(9, -1)
        np.testing.assert_array_equal(found[:, :count], given[:, :count])
        if count < given.shape[1]:
            assert (found[:, count:] != given[:, count:]).any(1).all()
            assert len({row.tobytes() for row in found[:3]}) == 3
    assert drawn[0].seeds.tolist() == [5, 6, 7] * 3


def test_the_draws_are_those_of_sample_with_the_same_codes(
    complete: Complete, small_bundle: Path, photos: Path, tmp_path: Path
) -> None:
    settings = ("--temperature", "top=40,bottom=50", "--top-p", "0.9")
    summary = complete("--rows", 0.5, "-n", 4, "--seed", 7, "--batch-size", 4, *settings, "--out", f"{tmp_path}/a/")
    sampler = Sampler(Bundle.open(small_bundle))
    for index in range(3):
        image = read_images([photos / f"{index}.png"], RGB)
        given, part = keep_rows(sampler.encode(image), 0.5), tmp_path / f"{index}.npz"
        write_codes(part, given, {}, origin=sampler.bundle.manifest.origin())
        label = summary["labels"][index]
        common = ("--seed", 7, "-n", 4, "--batch-size", 4, *settings, "--label", label)
        again = tmp_path / f"again{index}"
        assert run("sample", "--bundle", small_bundle, "--given", part, *common, "--out", f"{again}/") == 0
        for number in range(4):
            seed = 7 + number
            completed = pixels(tmp_path / "a" / f"{index:05}-{index}-seed{seed}.png")
            np.testing.assert_array_equal(completed, pixels(again / f"{number:05}-{label}-seed{seed}.png"))
    assert len(os.listdir(tmp_path / "a")) == summary["completions"] == 12


def test_the_grid_has_the_image_what_is_kept_and_the_draws(
    complete: Complete, drawn: list[Samples], small_bundle: Path, photos: Path, tmp_path: Path
) -> None:
    complete("--rows", 0.5, "-n", 2, "--scale", 1, "--out", tmp_path / "a.png")
    cells = cells_of(pixels(tmp_path / "a.png"))
    assert cells.shape == (3, 4, *RGB)
    images = read_images([photos], RGB)
    sampler = Sampler(Bundle.open(small_bundle))
    reconstructed = sampler.decode(sampler.encode(images))
    np.testing.assert_array_equal(cells[:, 0], images)
    np.testing.assert_array_equal(cells[:, 1, :16], reconstructed[:, :16])
    assert (cells[:, 1, 16:] == 128).all()
    np.testing.assert_array_equal(cells[:, 2:].reshape(6, *RGB), drawn[0].images)


def test_where_only_the_top_level_is_kept_the_grid_has_squares(
    complete: Complete, small_bundle: Path, photos: Path, tmp_path: Path
) -> None:
    complete("--rows", "top=0.75,bottom=0.25", "-n", 1, "--scale", 1, "--out", tmp_path / "a.png")
    kept = cells_of(pixels(tmp_path / "a.png"))[:, 1]
    sampler = Sampler(Bundle.open(small_bundle))
    reconstructed = sampler.decode(sampler.encode(read_images([photos], RGB)))
    np.testing.assert_array_equal(kept[:, :8], reconstructed[:, :8])
    for row in (8, 16):
        for column in range(0, 48, 8):
            square = (slice(None), slice(row, row + 8), slice(column, column + 8))
            mean = reconstructed[square].mean((1, 2), keepdims=True)
            assert np.abs(kept[square] - mean).max() <= 0.5
    assert (kept[:, 24:] == 128).all()


def cells_of(grid: np.ndarray) -> np.ndarray:
    """Returns the images of a grid with gaps of 2 pixels, [rows, columns, H, W, C]."""
    height, width, _ = RGB
    rows, columns = (grid.shape[0] + 2) // (height + 2), (grid.shape[1] + 2) // (width + 2)
    tops, lefts = [row * (height + 2) for row in range(rows)], [column * (width + 2) for column in range(columns)]
    return np.array([[grid[top : top + height, left : left + width] for left in lefts] for top in tops])


# ---- Classes


def test_classes_come_from_the_option_the_folders_or_the_classifier(
    complete: Complete, drawn: list[Samples], small_bundle: Path, photos: Path, tmp_path: Path
) -> None:
    force = ("-n", 2, "--rows", 0.5, "--force", "--out", tmp_path / "a.png")
    assert complete("--label", "boot", *force)["labels"] == ["boot"] * 3
    summary = complete("--label", "boot,coat,1", *force)
    assert (summary["labels"], summary["labels_from"]) == (["boot", "coat", "bag"], "option")
    assert drawn[-1].labels is not None
    assert drawn[-1].labels.tolist() == [2, 2, 0, 0, 1, 1]
    for name in ("bag", "boot"):
        shutil.copytree(photos, tmp_path / "named" / name)
    summary = complete(*force, images=(tmp_path / "named" / "boot" / "0.png", tmp_path / "named" / "bag" / "1.png"))
    assert (summary["labels"], summary["labels_from"]) == (["boot", "bag"], "folders")
    assert "0.png and 1 more from the names of folders or IDX files: boot, bag; --label names" in summary["stderr"]
    sampler = Sampler(Bundle.open(small_bundle))
    found = sampler.classify(sampler.decode(sampler.encode(read_images([photos], RGB)))).probabilities.argmax(1)
    summary = complete(*force)
    assert (summary["labels"], summary["labels_from"]) == ([CLASS_NAMES[each] for each in found], "classifier")
    assert "0.png and 2 more from the classifier: " in summary["stderr"]
    summary = complete(*force, images=(tmp_path / "named" / "boot", photos / "0.png"))
    assert summary["labels_from"] == "classifier"
    assert "labels of the images' folders are not used: only 3 of 4 images have one" in summary["stderr"]


def test_a_class_that_nothing_tells_is_demanded(
    small_bundle: Path, photos: Path, tmp_path: Path, fails: Callable[..., str]
) -> None:
    plain = shutil.copytree(small_bundle, tmp_path / "no-classifier")
    edit_manifest(plain, "classifier", value=None)
    common = ("complete", photos / "0.png", "--bundle", plain, "--rows", 0.5, "--out", tmp_path / "a.png")
    message = fails(2, *common)
    assert "0.png: the folder's name is not a class of the bundle" in message
    assert message.endswith("has no classifier to find labels: name the classes with --label\n")
    assert "--label names 2 classes for 1 image, expected one for all" in fails(2, *common, "--label", "bag,boot")
    assert "label 'hat' is not one of the 3 classes" in fails(2, *common, "--label", "hat")
    assert run(*common, "--label", "bag") == 0


def test_a_bundle_without_classes(
    classless_bundle: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], fails: Callable[..., str]
) -> None:
    common = ("complete", photos, "--bundle", classless_bundle, "--rows", 0.5, "--out", tmp_path / "a.png", "--json")
    assert "but the bundle has no classes" in fails(2, *common, "--label", "bag")
    assert run(*common) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert (json.loads(out)["labels"], json.loads(out)["labels_from"]) == (None, None)


# ---- What is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "one of the arguments --rows --first-codes is required"),
        ("--rows 0.5 --first-codes top=1", "not allowed with"),
        ("--rows=-0.5", "rows is -0.5, expected a share of the height from 0 to 1"),
        ("--rows 1.5", "rows is 1.5, expected a share"),
        ("--rows nan", "rows is nan, expected a share"),
        ("--rows half", "'half' is neither a number nor level=number"),
        ("--rows middle=1", "rows: there is no level 'middle', expected one of top, bottom"),
        ("--rows top=0.5,bottom=1", "8 of 8 rows of bottom would be kept, but of top, on which they depend, only 2 of"),
        ("--rows bottom=1", "8 of 8 rows of bottom would be kept, but of top, on which they depend, only 0 of 4 rows"),
        ("--rows 0", "--rows keeps nothing of the images: top has 4 rows, so keep at least --rows 0.25, or use"),
        ("--rows 0.2", "--rows keeps nothing of the images"),
        ("--rows top=0", "--rows keeps nothing of the images"),
        (
            "--rows 1",
            "--rows keeps every code, so nothing is left to draw: keep fewer, or use `latentloop",
        ),
        ("--rows top=1,bottom=1", "--rows keeps every code"),
        ("--first-codes 5", "first codes are 5.0, expected their number by level, as in top=20"),
        (
            "--first-codes top=0",
            "--first-codes keeps nothing of the images: top has 4 rows, so keep at least --first-codes top=1, or",
        ),
        ("--first-codes top=25", "first codes of top are 25, expected an integer from 0 to 24"),
        ("--first-codes top=24,bottom=96", "--first-codes keeps every code"),
        ("--first-codes top=3,bottom=7", "7 of 96 codes of bottom would be kept, but of top, on which they depend, o"),
        ("--rows top=1 --temperature top=0.5", "--temperature names top, but"),
        ("--rows 0.5 --temperature 0", "temperature for top is 0.0, expected"),
        ("--rows 0.5 -n 0", "'0' is not a positive integer"),
        ("--rows 0.5 -n 400000", "-n 400000 of 3 images are 1200000 draws, expected at most 1048576"),
        ("--rows 0.5 --seed -1", "seeds holds -1"),
        ("--rows 0.5 --seed 18446744073709551615", "seeds holds 18446744073709551616"),
    ],
)
def test_other_requests_are_refused_before_anything_is_written(
    small_bundle: Path, photos: Path, tmp_path: Path, fails: Callable[..., str], options: str, message: str
) -> None:
    out = f"{tmp_path}/out/"
    label = ("--label", "bag")
    assert message in fails(2, "complete", photos, "--bundle", small_bundle, "--out", out, *label, *options.split())
    assert os.listdir(tmp_path) == ["photos"]


@pytest.mark.parametrize("height", [1, 3, 7, 12, 32])
def test_the_least_that_is_proposed_keeps_something(height: int) -> None:
    shapes = {"top": (height, 2), "bottom": (2 * height, 4)}
    with pytest.raises(InputError, match="keeps nothing of the images") as refused:
        check_some_are_kept("--rows", {"top": 0, "bottom": 0}, shapes)
    found = re.search(r"keep at least --(\S+) (\S+), or", str(refused.value))
    assert found is not None
    kept = codes_in_rows(float(found[2]), shapes) if found[1] == "rows" else first_codes({"top": 1}, shapes)
    assert 0 < kept["top"] <= 2
    assert kept["bottom"] < 8 * height
    assert f"top has {height} row{'s' * (height > 1)}, " in str(refused.value)


def test_a_level_to_be_drawn_needs_a_prior(grey_bundle: Path, tmp_path: Path, fails: Callable[..., str]) -> None:
    Image.new("L", (16, 16)).save(tmp_path / "a.png")
    common = ("complete", tmp_path / "a.png", "--bundle", grey_bundle, "--out", tmp_path / "b.png")
    assert "no prior for the level 'top'" in fails(2, *common, "--rows", 0.5)
    assert "no prior for the level 'bottom'" in fails(2, *common, "--rows", "top=1")
    bottom = PriorConfig(4, 4, kernel=3, attention=False, condition_codes=11, condition_channels=6, **SMALL)
    write_bundle(tmp_path / "bottom", BundleSource(vqvae_checkpoint(image_channels=1), [None, _checkpoint(bottom)]))
    common = ("complete", tmp_path / "a.png", "--bundle", tmp_path / "bottom", "--out", tmp_path / "c.png")
    assert "no prior for the level 'top'" in fails(2, *common, "--rows", 0.5)
    assert run(*common, "--rows", "top=1") == 0


def test_images_that_cannot_be_used(
    complete: Complete, small_bundle: Path, photos: Path, tmp_path: Path, fails: Callable[..., str]
) -> None:
    (photos / "bad.png").write_bytes(b"")
    Image.new("RGB", (10, 20)).save(photos / "small.png")
    out = tmp_path / "a.png"
    common = ("complete", photos, tmp_path / "gone.png", "--bundle", small_bundle, "--rows", 0.5, "--out", out)
    message = fails(2, *common)
    assert "3 of 6 inputs cannot be used" in message
    assert "--resize" in message
    assert not out.exists()
    summary = complete("--rows", 0.5, "--skip-bad", "--resize", "--label", "bag", "--out", out)
    assert [Path(each["file"]).name for each in summary["skipped"]] == ["bad.png"]
    assert [Path(name).name for name in summary["images"]] == ["0.png", "1.png", "2.png", "small.png"]
    (tmp_path / "empty").mkdir()
    options = ("--rows", 0.5, "--out", tmp_path / "b.png")
    assert "holds no images" in fails(2, "complete", tmp_path / "empty", "--bundle", small_bundle, *options)
    assert "is a bundle, expected an input" in fails(2, "complete", small_bundle, *options)


def test_images_that_change_after_their_check(
    complete: Complete,
    small_bundle: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fails: Callable[..., str],
) -> None:
    check = ImageInputs.check

    def changing(*arguments: Any) -> ImageInputs:
        inputs = check(*arguments)
        (photos / "1.png").write_bytes(b"")
        return inputs

    before = (photos / "1.png").read_bytes()
    monkeypatch.setattr(ImageInputs, "check", changing)
    options = ("--rows", 0.5, "-n", 2, "--seed", 1, "--label", "bag")
    for command in (("complete", photos, *options), ("sample", "--given", photos, "--keep", "top")):
        (photos / "1.png").write_bytes(before)
        message = fails(2, *command, "--bundle", small_bundle, "--out", tmp_path / "a.png")
        assert "1.png" in message
        assert message.endswith("; nothing was drawn\n")
    (photos / "1.png").write_bytes(before)
    summary = complete(*options, "--skip-bad", "--out", f"{tmp_path}/a/")
    assert [Path(name).name for name in summary["images"]] == ["0.png", "2.png"]
    assert [Path(each["file"]).name for each in summary["skipped"]] == ["1.png"]
    names = [f"{stem}-seed{seed}.png" for stem in ("00000-0", "00001-2") for seed in (1, 2)]
    assert sorted(os.listdir(tmp_path / "a")) == names


def test_the_seed_is_named_if_nothing_can_be_written(
    small_bundle: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., str]
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError("No space left on device")

    common = ("complete", photos, "--bundle", small_bundle, "--rows", 0.5, "--label", 1, "--out", tmp_path / "a.png")
    monkeypatch.setattr(Image.Image, "save", full)
    assert re.search(r"; --seed \d+ draws the same again\n$", fails(1, *common))
    assert "--seed" not in fails(1, *common, "--seed", 1)
    assert os.listdir(tmp_path) == ["photos"]


def test_outputs_that_exist_and_inputs_are_not_replaced(
    complete: Complete, small_bundle: Path, photos: Path, tmp_path: Path, fails: Callable[..., str]
) -> None:
    common = ("complete", photos, "--bundle", small_bundle, "--rows", 0.5, "--label", "bag", "--out")
    before = (photos / "0.png").read_bytes()
    assert "would replace" in fails(2, *common, photos / "0.png", "--force")
    assert "exists; pass --force" in fails(1, *common, photos / "0.png")
    assert "exists; pass --force" in fails(1, *common, f"{photos}/")
    assert "also holds 0.png, which --force would remove" in fails(1, *common, f"{photos}/", "--force")
    assert "holds the directory photos" in fails(1, *common, f"{tmp_path}/", "--force")
    assert (photos / "0.png").read_bytes() == before
    out = f"{tmp_path}/out/"
    options = ("--rows", 0.5, "--label", "bag", "-n", 1, "--scale", 2, "--out", out)
    complete(*options, "--seed", 1)
    assert "exists" in fails(1, *common, out)
    complete(*options, "--seed", 2, "--force")
    assert sorted(os.listdir(out)) == [f"0000{index}-{index}-seed2.png" for index in range(3)]
    assert pixels(tmp_path / "out" / "00000-0-seed2.png").shape == (64, 96, 3)
    message = fails(2, "complete", out, "--resize", *common[2:], out, "--force")
    assert "out/ would replace " in message
    assert len(os.listdir(out)) == 3
    assert "expected one of .png" in fails(2, *common, tmp_path / "a.txt")
    for seed in (1, 2):  # results inside the folder of the images are no images to complete
        complete(*options[:-1], f"{photos}/completed/", "--seed", seed, "--force")
        assert len(os.listdir(photos / "completed")) == 3


# ---- Ctrl-C


def interrupt_after(images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a signal arrive when so many images are finished."""
    stream = Runs.stream

    def stopped(self: Runs, request: Any, batch_size: int | None, callback: Callable[[Progress], bool]) -> Any:
        def after_row(progress: Progress) -> bool:
            if progress.images_done == images:
                signal.raise_signal(signal.SIGINT)
            return callback(progress)

        return stream(self, request, batch_size, after_row)

    monkeypatch.setattr(Runs, "stream", stopped)


@pytest.mark.parametrize(
    ("finished", "said"),
    [
        (1, "1 completion of 1 of 3 images in "),
        (5, "5 completions of 2 of 3 images in "),
        (8, "8 completions of 2 of 3 images in "),
        (12, "12 completions of 3 images in "),
    ],
)
def test_the_line_says_how_many_images_have_completions(
    small_bundle: Path,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    finished: int,
    said: str,
) -> None:
    interrupt_after(finished, monkeypatch)
    options = ("--rows", 0.5, "--label", "bag", "-n", 4, "--batch-size", 1, "--out", tmp_path / "a.png")
    assert run("complete", photos, "--bundle", small_bundle, *options) == (0 if finished == 12 else 130)
    assert f"a.png: {said}" in capsys.readouterr().out


@pytest.mark.parametrize("out", ["a.png", "a/"])
def test_finished_images_are_written_after_ctrl_c(
    small_bundle: Path,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    out: str,
) -> None:
    interrupt_after(5, monkeypatch)
    options = ("--rows", 0.5, "--label", "bag", "-n", 4, "--batch-size", 1, "--scale", 1, "--seed", 1)
    status = run("complete", photos, "--bundle", small_bundle, *options, "--json", "--out", f"{tmp_path}/{out}")
    stdout, stderr = capsys.readouterr()
    assert (status, stderr) == (130, "latentloop: interrupted, 5 of 12 images were finished and written\n")
    summary = json.loads(stdout)
    assert (summary["completions"], summary["cancelled"]) == (5, True)
    if out == "a/":
        assert sorted(os.listdir(tmp_path / "a"))[3:] == ["00000-0-seed4.png", "00001-1-seed1.png"]
        return
    cells = cells_of(pixels(tmp_path / "a.png"))
    assert cells.shape == (2, 6, *RGB)
    assert (cells[1, 3:] == 255).all()
    assert (cells[1, 2] < 255).any()


def test_ctrl_c_while_images_are_encoded(
    small_bundle: Path,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encode = Sampler.encode

    def stopped(self: Sampler, images: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return encode(self, images)

    monkeypatch.setattr(Sampler, "encode", stopped)
    for command in (("complete", photos, "--rows", 0.5), ("sample", "--given", photos, "--keep", "top")):
        assert run(*command, "--bundle", small_bundle, "--out", tmp_path / "a.png") == 130
        assert capsys.readouterr() == ("", "latentloop: interrupted\n")
    assert os.listdir(tmp_path) == ["photos"]


# ---- Images for `sample --given`


def test_sample_takes_images_where_it_takes_codes(
    small_bundle: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], fails: Callable[..., str]
) -> None:
    encoded = tmp_path / "photos.npz"
    assert run("encode", photos, "--bundle", small_bundle, "--out", encoded) == 0
    common = ("sample", "--bundle", small_bundle, "--keep", "top", "--seed", 3)
    for name, given in (("codes", encoded), ("images", photos)):
        grid, out = tmp_path / f"{name}.png", tmp_path / f"{name}-out.npz"
        assert run(*common, "--given", given, "--out", grid, "--codes", out) == 0
        for _ in range(2):  # the second command goes on, and finds nothing to do
            assert run(*common, "--given", given, "--out", f"{tmp_path}/{name}/") == 0
    first, second = codes(tmp_path / "codes-out.npz"), codes(tmp_path / "images-out.npz")
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name])
    origins = [open_codes(tmp_path / f"{name}-out.npz").origins for name in ("codes", "images")]
    assert origins[0] == origins[1]
    np.testing.assert_array_equal(pixels(tmp_path / "codes.png"), pixels(tmp_path / "images.png"))
    for file in (tmp_path / "codes").glob("*.png"):
        np.testing.assert_array_equal(pixels(file), pixels(tmp_path / "images" / file.name))
    for _ in range(2):  # images below the given folder that the first command wrote are no inputs of the second
        assert run(*common, "--given", photos, "--out", f"{photos}/varied/") == 0
    capsys.readouterr()
    one = ("--given", photos / "0.png", "--label", "bag", "--out", tmp_path / "b.png")
    assert run(*common, *one, "-n", 2) == 0
    assert capsys.readouterr().err == ""
    assert "`latentloop complete --rows` to keep a part" in fails(
        2, "sample", "--bundle", small_bundle, *one, "-n", 2, "--force"
    )


def test_sample_refuses_images_that_do_not_fit(
    small_bundle: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], fails: Callable[..., str]
) -> None:
    Image.new("RGB", (10, 20)).save(tmp_path / "small.png")
    common = ("sample", "--bundle", small_bundle, "--keep", "top", "--label", "bag", "--out", tmp_path / "a.png")
    assert "small.png has 20 x 10 pixels" in fails(2, *common, "--given", tmp_path / "small.png")
    assert run(*common, "--given", tmp_path / "small.png", "--resize", "-n", 1, "--json") == 0
    capsys.readouterr()
    assert "gone.png cannot be read" in fails(2, *common, "--force", "--given", tmp_path / "gone.png")
    assert "gone.npz cannot be read" in fails(2, *common, "--force", "--given", tmp_path / "gone.npz")
    assert "would replace" in fails(2, *common[:-1], photos / "0.png", "--force", "--given", photos)
    assert "also holds 0.png" in fails(1, *common[:-1], f"{photos}/", "--force", "--given", photos / "0.png")
    assert "--resize applies to images of --given, which is missing" in fails(
        2, "sample", "--bundle", small_bundle, "--resize", "--out", tmp_path / "b.png"
    )
    np.savez(tmp_path / "codes.npz", top=np.zeros((1, 4, 6), np.int64))
    shutil.move(tmp_path / "codes.npz", tmp_path / "codes")
    assert "--skip-bad applies to images of --given, but" in fails(
        2, *common, "--force", "--given", tmp_path / "codes", "--skip-bad"
    )
    assert run(*common, "--force", "--given", tmp_path / "codes", "-n", 1) == 0
    assert run("encode", photos, "--bundle", small_bundle, "--out", f"{tmp_path}/encoded/") == 0
    capsys.readouterr()
    message = fails(2, *common, "--force", "--given", tmp_path / "encoded")
    assert "encoded holds 1 files of codes, expected a folder of images: name one of the files" in message
    assert "has no codes [N, h, w] of 'middle', it holds: top, bottom" in fails(
        2, *common[:3], "--keep", "middle", *common[5:], "--force", "--given", photos
    )


# ---- The page about it


def test_the_documented_commands_work(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where the folder of photos is
    shutil.copy(photos / "0.png", "photo.png")
    page = Path(__file__).parents[1] / "docs" / "completion.md"
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    inline = re.findall(r"`(latentloop \w+ (?:[^`]*) --out [^`]+)`", page.read_text(encoding="utf-8"))
    assert (len(lines), len(inline)) == (3, 1)
    for line in (*lines, *inline):
        program, *words = shlex.split(line, comments=True)
        assert program == "latentloop"
        assert run(*words) == 0
    assert pixels(tmp_path / "completed.png").shape == (64, 6 * 66 - 2, 3)
    assert len(os.listdir("completed")) == 24
