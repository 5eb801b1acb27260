"""Options without effect are refused, or noted in a line on stderr."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import codes, run
from conftest import CLASS_NAMES

from latentloop import Bundle
from latentloop.io.codes_file import write_codes

Sample = Callable[..., str]


@pytest.fixture
def photo(small_bundle: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The codes of one image."""
    path = tmp_path / "photo.npz"
    assert run("encode", photos / "0.png", "--bundle", small_bundle, "--out", path) == 0
    capsys.readouterr()
    return path


@pytest.fixture
def stderr_of(small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Sample:
    """Runs `latentloop sample`, which must succeed, and returns the text on stderr."""

    def call(*arguments: object) -> str:
        assert run("sample", "--bundle", small_bundle, "--out", tmp_path / "x.png", "--force", *arguments) == 0
        return capsys.readouterr().err.replace(str(tmp_path), "")

    return call


@pytest.fixture
def labelled(photo: Path, small_bundle: Path) -> Path:
    """The same codes with a label."""
    path = photo.with_name("labelled.npz")
    origin = Bundle.open(small_bundle).manifest.origin()
    levels = {name: codes(photo)[name] for name in ("top", "bottom")}
    write_codes(path, levels, {"labels": np.array([2])}, origin=origin, classes=CLASS_NAMES)
    return path


def test_nothing_left_to_draw_is_refused_except_for_one_image(
    labelled: Path, small_bundle: Path, tmp_path: Path, fails: Callable[..., str], stderr_of: Sample
) -> None:
    common = ("sample", "--bundle", small_bundle, "--given", labelled, "--out", tmp_path / "a.png")
    for options in ((), ("-n", 2), ("--per-class", 1), ("--keep", "top,bottom", "--temperature", 2)):
        message = fails(2, *common, *options)
        assert "gives every code of every level, so nothing is left to draw: use --keep top to draw the rest" in message
    nothing_drawn = "latentloop: nothing is drawn: /labelled.npz gives every code"
    assert stderr_of("--given", labelled, "-n", 1) == f"{nothing_drawn}\n"
    unused = ("--seed", 1, "--temperature", 2, "--top-p", 0.9)
    assert stderr_of("--given", labelled, "-n", 1, *unused) == (
        f"{nothing_drawn}, so --temperature, --top-p and --seed have no effect\n"
    )
    assert stderr_of("--given", labelled, "-n", 1, "--precision", "int8").endswith("so --precision has no effect\n")
    assert stderr_of("--given", labelled, "--keep", "top") == ""


def test_labels_that_are_only_written(photo: Path, tmp_path: Path, stderr_of: Sample) -> None:
    nothing_drawn = "latentloop: nothing is drawn: /photo.npz gives every code"
    out = tmp_path / "x.npz"
    assert stderr_of("--given", photo, "-n", 1, "--label", "bag", "--codes", out) == (
        f"{nothing_drawn}; --label only sets the labels that are written\n"
    )
    assert codes(out)["labels"].tolist() == [1]
    assert stderr_of("--given", photo, "-n", 1, "--label", "bag", "--seed", 1) == (
        f"{nothing_drawn}, so --seed has no effect; --label only sets the labels that are written\n"
    )
    assert stderr_of("--given", photo, "--per-class", 1, "--label", "bag") == (
        f"{nothing_drawn}; --label only sets the labels that are written\n"
    )


def test_without_priors_decode_is_recommended(grey_bundle: Path, tmp_path: Path, fails: Callable[..., str]) -> None:
    np.savez(tmp_path / "a.npz", top=np.zeros((1, 2, 2), np.int64), bottom=np.zeros((1, 4, 4), np.int64))
    given = ("--given", tmp_path / "a.npz", "--out", tmp_path / "a.png")
    assert "nothing is left to draw: use `latentloop decode` for" in fails(2, "sample", "--bundle", grey_bundle, *given)


def test_a_level_can_be_given_in_part(photo: Path, small_bundle: Path, tmp_path: Path, stderr_of: Sample) -> None:
    arrays = codes(photo)
    arrays["bottom"][:, 4:] = -1
    origin = Bundle.open(small_bundle).manifest.origin()
    write_codes(tmp_path / "part.npz", {"top": arrays["top"], "bottom": arrays["bottom"]}, {}, origin=origin)
    out = tmp_path / "out.npz"
    options = ("-n", 2, "--label", "bag", "--codes", out, "--temperature", "bottom=0.5")
    assert stderr_of("--given", tmp_path / "part.npz", *options) == ""
    assert np.array_equal(codes(out)["bottom"][1, :4], arrays["bottom"][0, :4])


@pytest.mark.parametrize("option", ["--temperature", "--top-k", "--top-p"])
def test_a_setting_of_a_level_that_is_given_is_refused(
    photo: Path, small_bundle: Path, tmp_path: Path, fails: Callable[..., str], option: str
) -> None:
    common = ("sample", "--bundle", small_bundle, "--given", photo, "--keep", "top", "--out", tmp_path / "a.png")
    message = fails(2, *common, option, "top=1,bottom=1")
    assert f"{option} names top, but {photo} gives every code of it" in message


@pytest.mark.parametrize(
    ("options", "note"),
    [
        (
            "--top-k 1 --temperature 2 --seed 1",
            "--top-k 1 draws the most probable code, so --temperature and --seed have",
        ),
        ("--top-k 1 --top-p 0.5", "so --top-p has no effect"),
        ("--top-k bottom=1 --temperature 2 --seed 1", "so --temperature has no effect in bottom"),
        ("--top-k bottom=1 --temperature top=2", ""),
        ("--top-k 1", ""),
        (
            "--min-p 1 --top-p 0.5 --seed 1",
            "--min-p 1 draws the most probable code, so --top-p and --seed have",
        ),
        (
            "--min-p bottom=1 --temperature 2 --seed 1",
            "--min-p 1 draws the most probable code, so --temperature",
        ),
        ("--min-p 1 --top-k top=1", "--top-k 1 draws the most probable code, so --min-p has no effect in top"),
        ("--min-p 1", ""),
        ("--min-p 0.5 --temperature 2 --seed 1", ""),
        ("--top-k 2 --temperature 2 --seed 1", ""),
        ("--best 1", "--best 1 keeps every candidate, so nothing is chosen"),
        ("--best 0.5", ""),
        ("-n 2 --label coat,bag,boot", "--label names 3 classes for 2 images: boot is not used"),
        ("-n 3 --label coat,bag", ""),
        ("--per-class 1 --label coat,bag,boot", ""),
        ("--batch-size 9 -n 2", ""),
    ],
)
def test_options_without_effect_are_noted(stderr_of: Sample, options: str, note: str) -> None:
    arguments = options.split()
    if "-n" not in arguments and "--per-class" not in arguments:
        arguments += ["-n", "1"]
    stderr = stderr_of(*arguments)
    assert note in stderr
    assert stderr.count("\n") == bool(note)


@pytest.mark.parametrize(
    ("command", "note"),
    [
        ("sample --bundle absent --out x/ --columns 2", "--columns applies to a grid, but --out x/ is a folder"),
        ("decode absent --out x/ --columns 2", "--columns applies to a grid"),
        ("reconstruct absent --out x/ --columns 2", "--columns applies to a grid"),
        ("reconstruct absent --columns 2", "--columns applies to written images, but nothing is written without --out"),
        ("reconstruct absent --scale 2", "--scale applies to written images"),
    ],
)
def test_options_of_another_kind_of_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., str], command: str, note: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert note in fails(2, *command.split())


def test_empty_values(photo: Path, small_bundle: Path, tmp_path: Path, fails: Callable[..., str]) -> None:
    common = ("sample", "--bundle", small_bundle, "--out", tmp_path / "a.png")
    assert "has no codes [N, h, w] of ''" in fails(2, *common, "--given", photo, "--keep", "")
    assert "--given, which is missing" in fails(2, *common, "--keep", "")
    assert "label '' is not one" in fails(2, *common, "--label", "")
