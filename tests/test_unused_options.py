"""No option is ignored in silence: where one changes nothing, it is refused, or a line says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import codes, run

Said = Callable[..., str]


@pytest.fixture
def photo(small_bundle: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The codes of one image."""
    path = tmp_path / "photo.npz"
    assert run("encode", photos / "0.png", "--bundle", small_bundle, "--out", path) == 0
    capsys.readouterr()
    return path


@pytest.fixture
def said(small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Said:
    """Runs `latentloop sample`, which must work, and returns what it says on stderr."""

    def call(*arguments: object) -> str:
        assert run("sample", "--bundle", small_bundle, "--out", tmp_path / "x.png", "--force", *arguments) == 0
        return capsys.readouterr().err.replace(str(tmp_path), "")

    return call


def test_nothing_left_to_draw_is_refused_but_for_one_image(
    photo: Path, small_bundle: Path, tmp_path: Path, fails: Callable[..., str], said: Said
) -> None:
    common = ("sample", "--bundle", small_bundle, "--given", photo, "--out", tmp_path / "a.png")
    for options in ((), ("-n", 2), ("--per-class", 1), ("--keep", "top,bottom", "--temperature", 2)):
        message = fails(2, *common, *options)
        assert "gives every code of every level, so nothing is left to draw: --keep top draws the rest" in message
    every = "latentloop: nothing is drawn: /photo.npz gives every code"
    assert said("--given", photo, "-n", 1) == f"{every}\n"
    idle = ("--seed", 1, "--temperature", 2, "--top-p", 0.9)
    assert said("--given", photo, "-n", 1, *idle) == (
        f"{every}, so --temperature, --top-p and --seed are without effect\n"
    )
    assert said("--given", photo, "-n", 1, "--precision", "int8").endswith("so --precision is without effect\n")
    assert said("--given", photo, "--keep", "top") == ""


def test_labels_that_only_name_the_result(photo: Path, tmp_path: Path, said: Said) -> None:
    every = "latentloop: nothing is drawn: /photo.npz gives every code"
    out = tmp_path / "x.npz"
    assert said("--given", photo, "-n", 1, "--label", "bag", "--codes", out) == (
        f"{every}; --label only names what is written\n"
    )
    assert codes(out)["labels"].tolist() == [1]
    assert said("--given", photo, "-n", 1, "--label", "bag", "--seed", 1) == (
        f"{every}, so --seed is without effect; --label only names what is written\n"
    )
    assert said("--given", photo, "--per-class", 1, "--label", "bag") == (
        f"{every}; --label only names what is written\n"
    )


def test_without_priors_decode_is_the_way(grey_bundle: Path, tmp_path: Path, fails: Callable[..., str]) -> None:
    np.savez(tmp_path / "a.npz", top=np.zeros((1, 2, 2), np.int64), bottom=np.zeros((1, 4, 4), np.int64))
    given = ("--given", tmp_path / "a.npz", "--out", tmp_path / "a.png")
    assert "nothing is left to draw: `latentloop decode` gives" in fails(2, "sample", "--bundle", grey_bundle, *given)


def test_codes_that_are_drawn_in_part_are_drawn(photo: Path, tmp_path: Path, said: Said) -> None:
    held = codes(photo)
    held["bottom"][:, 4:] = -1
    np.savez(tmp_path / "part.npz", top=held["top"], bottom=held["bottom"])
    out = tmp_path / "out.npz"
    assert said("--given", tmp_path / "part.npz", "-n", 2, "--codes", out, "--temperature", "bottom=0.5") == ""
    assert np.array_equal(codes(out)["bottom"][1, :4], held["bottom"][0, :4])


@pytest.mark.parametrize("option", ["--temperature", "--top-k", "--top-p"])
def test_a_setting_of_a_level_that_is_given_is_refused(
    photo: Path, small_bundle: Path, tmp_path: Path, fails: Callable[..., str], option: str
) -> None:
    common = ("sample", "--bundle", small_bundle, "--given", photo, "--keep", "top", "--out", tmp_path / "a.png")
    message = fails(2, *common, option, "top=1,bottom=1")
    assert f"{option} names top, of which {photo} gives every code" in message


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            "--top-k 1 --temperature 2 --seed 1",
            "--top-k 1 takes the most probable code, so --temperature and --seed are",
        ),
        ("--top-k 1 --top-p 0.5", "so --top-p is without effect"),
        ("--top-k bottom=1 --temperature 2 --seed 1", "so --temperature is without effect in bottom"),
        ("--top-k bottom=1 --temperature top=2", ""),
        ("--top-k 1", ""),
        ("--top-k 2 --temperature 2 --seed 1", ""),
        ("--best 1", "--best 1 keeps every candidate, so nothing is chosen"),
        ("--best 0.5", ""),
        ("-n 2 --label coat,bag,boot", "--label names 3 classes for 2 images, without boot"),
        ("-n 3 --label coat,bag", ""),
        ("--per-class 1 --label coat,bag,boot", ""),
        ("--batch-size 9 -n 2", ""),
    ],
)
def test_what_changes_nothing_is_told(said: Said, options: str, told: str) -> None:
    words = options.split()
    if "-n" not in words and "--per-class" not in words:
        words += ["-n", "1"]
    found = said(*words)
    assert told in found
    assert found.count("\n") == bool(told)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("sample --bundle absent --out x/ --columns 2", "--columns is of a grid, and --out x/ asks for a folder"),
        ("decode absent --out x/ --columns 2", "--columns is of a grid"),
        ("reconstruct absent --out x/ --columns 2", "--columns is of a grid"),
        ("reconstruct absent --columns 2", "--columns is of the images, and nothing is written without --out"),
        ("reconstruct absent --scale 2", "--scale is of the images"),
    ],
)
def test_options_that_belong_to_another_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., str], command: str, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert told in fails(2, *command.split())


def test_empty_choices(photo: Path, small_bundle: Path, tmp_path: Path, fails: Callable[..., str]) -> None:
    common = ("sample", "--bundle", small_bundle, "--out", tmp_path / "a.png")
    assert "has no codes [N, h, w] of ''" in fails(2, *common, "--given", photo, "--keep", "")
    assert "--given, which is missing" in fails(2, *common, "--keep", "")
    assert "label '' is none" in fails(2, *common, "--label", "")
