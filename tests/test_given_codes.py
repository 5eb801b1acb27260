"""Files of codes say what they belong to: who reads them uses it, or says that it does not."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import codes, pixels, run

from latentloop.bundle import Bundle
from latentloop.codes import bundle_digest, open_codes, write_codes
from latentloop.errors import InputError

Sample = Callable[..., tuple[int, str]]


@pytest.fixture
def sample(small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Sample:
    """Runs `latentloop sample`; returns the status and what it says on stderr."""

    def call(*arguments: object) -> tuple[int, str]:
        words = ("--bundle", small_bundle, "--out", tmp_path / "out.png", "--force", *arguments)
        status = run("sample", *words)
        return status, capsys.readouterr().err

    return call


@pytest.fixture
def drawn(sample: Sample, tmp_path: Path) -> Path:
    """Codes of a boot and a coat, drawn at a temperature of 0.9 below."""
    path = tmp_path / "drawn.npz"
    options = ("-n", 2, "--seed", 3, "--label", "boot,coat", "--temperature", "bottom=0.9", "--codes", path)
    assert sample(*options) == (0, "")
    return path


def edited(source: Path, target: Path, arrays: dict[str, Any]) -> Path:
    """A copy made by NumPy with other arrays, None for one to leave out: it keeps nothing but arrays."""
    kept: dict[str, Any] = {name: value for name, value in (codes(source) | arrays).items() if value is not None}
    np.savez(target, **kept)
    return target


def test_files_carry_bundle_settings_and_class_names(drawn: Path, small_bundle: Path) -> None:
    file = open_codes(drawn)
    assert file.bundle == bundle_digest(Bundle.open(small_bundle).manifest)
    assert file.classes == {0: "coat", 2: "boot"}
    assert file.settings == {
        "precision": "float32",
        "temperature": {"top": 1.0, "bottom": 0.9},
        "top_k": {"top": None, "bottom": None},
        "top_p": {"top": 1.0, "bottom": 1.0},
    }
    assert sorted(codes(drawn)) == ["bottom", "labels", "seeds", "top"]  # as before, for programs that take the rest


def test_labels_of_the_file_are_used(drawn: Path, sample: Sample, tmp_path: Path) -> None:
    out = tmp_path / "new.npz"
    again = ("--given", drawn, "--keep", "top", "--seed", 1, "--temperature", "0.9", "--codes", out, "--force")
    assert sample(*again) == (0, "")
    assert codes(out)["labels"].tolist() == [2, 0]
    one = edited(drawn, tmp_path / "one.npz", {name: value[:1] for name, value in codes(drawn).items()})
    assert sample("--given", one, "--keep", "top", "-n", 3, "--codes", out) == (0, "")
    assert codes(out)["labels"].tolist() == [2, 2, 2]
    status, said = sample(*again, "--label", "bag")
    assert (status, said) == (0, f"latentloop: --label decides the classes, not the labels of {drawn}\n")
    assert codes(out)["labels"].tolist() == [1, 1]
    assert sample(*again, "--label", "2,coat") == (0, "")  # the same


def test_labels_are_matched_by_name(drawn: Path, sample: Sample, tmp_path: Path, small_bundle: Path) -> None:
    manifest = Bundle.open(small_bundle).manifest
    held = codes(drawn)
    levels = {name: held[name] for name in ("top", "bottom")}
    other = tmp_path / "other.npz"

    def write(*classes: str) -> None:
        named = replace(manifest, classes=classes)
        write_codes(other, levels, {"labels": held["labels"]}, manifest=named, force=True)

    out = tmp_path / "new.npz"
    write("boot", "hat", "bag")
    assert sample("--given", other, "--keep", "top", "--codes", out) == (0, "")
    assert codes(out)["labels"].tolist() == [1, 2]
    write("hat", "bag", "boot")
    status, said = sample("--given", other, "--keep", "top", "--codes", out, "--force")
    assert status == 2
    assert "other.npz holds images of the class 'hat', which the bundle does not have (coat, bag, boot)" in said
    status, said = sample("--given", other, "--keep", "top", "--label", "coat")
    assert (status, "--label decides" in said) == (0, True)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([2, 0], [2, 0]),
        (["coat", "bag"], [0, 1]),
        ([3, 0], "labels hold 3, and the bundle has 3 classes"),
        ([-1, 0], "labels hold -1"),
        ([0.0, 1.0], "labels are float64 [2], expected classes [2]"),
        ([0, 1, 2], "labels are int64 [3], expected classes [2]"),
        (["hat", "bag"], "the class 'hat'"),
    ],
)
def test_labels_of_files_that_numpy_wrote(
    drawn: Path, sample: Sample, tmp_path: Path, labels: Any, expected: Any
) -> None:
    file, out = edited(drawn, tmp_path / "plain.npz", {"labels": np.array(labels)}), tmp_path / "new.npz"
    status, said = sample("--given", file, "--keep", "top", "--codes", out)
    if isinstance(expected, str):
        assert status == 2
        assert expected in said
        assert "plain.npz" in said
    else:
        assert (status, said, codes(out)["labels"].tolist()) == (0, "", expected)


def test_other_settings_and_another_bundle_are_told(drawn: Path, sample: Sample, tmp_path: Path) -> None:
    given = ("--given", drawn, "--keep", "top")
    told = f"latentloop: {drawn} was drawn with {{}} bottom={{}}, this run draws with bottom={{}}\n"
    assert sample(*given) == (0, told.format("temperature", "0.9", "1.0"))
    assert sample(*given, "--temperature", "bottom=0.9,top=1")[0] == 2  # top is given
    assert sample(*given, "--temperature", 0.9, "--top-k", 5) == (0, told.format("top-k", "none", "5.0"))
    assert sample(*given, "--temperature", 0.9, "--precision", "int8") == (
        0,
        f"latentloop: {drawn} was drawn with precision float32, this run draws with int8\n",
    )
    with zipfile.ZipFile(drawn, "a") as archive:
        archive.comment = json.dumps(json.loads(archive.comment) | {"bundle": "0123", "settings": {}}).encode()
    assert sample(*given) == (
        0,
        f"latentloop: {drawn} was made with another bundle, whose codes may mean other things\n",
    )


def test_decoding_names_images_as_sampling_does(
    drawn: Path, small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("decode", drawn, "--bundle", small_bundle, "--json", "--out")
    assert run(*command, f"{tmp_path}/images/") == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["labels"], summary["seeds"]) == (["boot", "coat"], [3, 4])
    names = sorted(path.name for path in (tmp_path / "images").iterdir())
    assert names == ["00000-boot-seed3.png", "00001-coat-seed4.png"]
    plain = edited(drawn, tmp_path / "plain.npz", {"labels": None, "seeds": None})
    assert run("decode", plain, "--bundle", small_bundle, "--out", f"{tmp_path}/plain/") == 0
    assert np.array_equal(pixels(tmp_path / "plain" / "00001.png"), pixels(tmp_path / "images" / names[1]))
    edited(plain, tmp_path / "odd.npz", {"seeds": np.zeros(3, np.int64)})
    assert run("decode", tmp_path / "odd.npz", "--bundle", small_bundle, "--out", tmp_path / "b.png") == 2
    assert "odd.npz: seeds are int64 [3], expected integers [2]" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["extra", "Labels", "middle"])
def test_other_arrays_are_never_passed_over(
    drawn: Path, sample: Sample, tmp_path: Path, small_bundle: Path, fails: Callable[..., str], name: str
) -> None:
    file = edited(drawn, tmp_path / "odd.npz", {name: np.zeros((2, 4, 6), np.int64)})
    status, said = sample("--given", file, "--keep", "top")
    assert status == 2
    assert f"there is no level {name!r}" in said
    assert f"there is no level {name!r}" in fails(
        2, "decode", file, "--bundle", small_bundle, "--out", tmp_path / "b.png"
    )


@pytest.mark.parametrize(
    ("comment", "message"),
    [
        (b"of another program", None),
        (b'{"format": "latentloop-codes-2"}', "format is 'latentloop-codes-2', expected 'latentloop-codes-1'"),
        (b'{"format": "latentloop-codes-1", "classes": {"x": 1}}', "comment is damaged"),
        (b'{"format": "latentloop-codes-1", "settings": 5}', "comment is damaged"),
        (b'{"format": "latentloop-codes-1"', "comment is damaged"),
    ],
)
def test_comments_of_others_and_damaged_ones(drawn: Path, comment: bytes, message: str | None) -> None:
    with zipfile.ZipFile(drawn, "a") as archive:
        archive.comment = comment
    if message is None:
        assert open_codes(drawn).bundle == ""
    else:
        with pytest.raises(InputError, match=message):
            open_codes(drawn)


def test_names_that_find_no_room_are_left_out(tmp_path: Path, small_bundle: Path) -> None:
    manifest = replace(Bundle.open(small_bundle).manifest, classes=tuple(f"{n:050}" for n in range(3000)))
    write_codes(tmp_path / "a.npz", {}, {"labels": np.arange(3000)}, manifest=manifest)
    file = open_codes(tmp_path / "a.npz")
    assert (file.classes, file.bundle) == ({}, bundle_digest(manifest))
    assert file.labels(3000, manifest.classes) == list(manifest.classes)
