"""`latentloop sample --given`: the metadata in files of codes is used, or a note says that it is not."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import RGB, codes, pixels, run
from corrupted_bundles import edit_manifest

from latentloop import Bundle, Sampler
from latentloop.errors import InputError
from latentloop.images import read_images
from latentloop.io.codes_file import open_codes, write_codes

Sample = Callable[..., tuple[int, str]]


@pytest.fixture
def sample(small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Sample:
    """Runs `latentloop sample`; returns the status and the text on stderr."""

    def call(*arguments: object) -> tuple[int, str]:
        status = run("sample", "--bundle", small_bundle, "--out", tmp_path / "out.png", "--force", *arguments)
        return status, capsys.readouterr().err

    return call


@pytest.fixture
def drawn(sample: Sample, tmp_path: Path) -> Path:
    """Codes of a boot and a coat; the bottom level is drawn at a temperature of 0.9."""
    path = tmp_path / "drawn.npz"
    options = ("-n", 2, "--seed", 3, "--label", "boot,coat", "--temperature", "bottom=0.9", "--codes", path)
    assert sample(*options) == (0, "")
    return path


def edited(source: Path, target: Path, arrays: dict[str, Any]) -> Path:
    """Copies a file with NumPy, which drops the metadata, and replaces arrays; None removes an array."""
    edited_arrays: dict[str, Any] = {name: a for name, a in (codes(source) | arrays).items() if a is not None}
    np.savez(target, **edited_arrays)
    return target


def unrecorded(path: Path) -> str:
    """The note on a file that NumPy wrote."""
    problem = "does not record which VQ-VAE made its codes: those of another one have no meaning here"
    return f"latentloop: {path} {problem}\n"


def test_files_record_bundle_settings_and_class_names(drawn: Path, small_bundle: Path) -> None:
    file = open_codes(drawn)
    origin: dict[str, Any] = {**Bundle.open(small_bundle).manifest.origin(), "precision": "float32"}
    origin |= {"temperature": 1.0, "top_k": None, "top_p": 1.0, "min_p": 0.0}
    assert file.classes == {0: "coat", 2: "boot"}
    assert file.origins == {"top": [origin], "bottom": [origin | {"temperature": 0.9}]}
    # No further arrays: some programs treat them as levels.
    assert sorted(codes(drawn)) == ["bottom", "labels", "seeds", "top"]


def test_labels_of_the_file_are_used(drawn: Path, sample: Sample, tmp_path: Path) -> None:
    out = tmp_path / "new.npz"
    again = ("--given", drawn, "--keep", "top", "--seed", 3, "--temperature", "0.9", "--codes", out, "--force")
    assert sample(*again) == (0, "")
    assert codes(out)["labels"].tolist() == [2, 0]
    one = edited(drawn, tmp_path / "one.npz", {name: value[:1] for name, value in codes(drawn).items()})
    assert sample("--given", one, "--keep", "top", "-n", 3, "--seed", 3, "--codes", out) == (0, unrecorded(one))
    assert codes(out)["labels"].tolist() == [2, 2, 2]
    status, stderr = sample(*again, "--label", "bag")
    assert (status, stderr) == (0, f"latentloop: --label overrides the labels of {drawn}\n")
    assert codes(out)["labels"].tolist() == [1, 1]
    assert sample(*again, "--label", "2,coat") == (0, "")  # the same


def test_labels_come_from_the_classifier_if_the_file_has_none(
    photos: Path, sample: Sample, tmp_path: Path, small_bundle: Path
) -> None:
    sampler = Sampler(Bundle.open(small_bundle))
    images = sampler.decode(sampler.encode(read_images([photos], RGB)))
    probabilities = sampler.classify(images).probabilities
    expected = probabilities.argmax(1).tolist()
    assert expected != [0, 1, 2]  # the classes in turn
    names = sampler.bundle.manifest.classes
    shown = ", ".join(
        f"{names[k]} ({p[k]:.0%})".replace("%", " %") for k, p in zip(expected, probabilities, strict=True)
    )
    file, out = tmp_path / "photos.npz", tmp_path / "out.npz"
    assert run("encode", photos, "--bundle", small_bundle, "--out", file) == 0
    note = f"latentloop: labels of {file} from the classifier: {shown}; --label names others\n"
    assert sample("--given", file, "--keep", "top", "--codes", out) == (0, note)
    assert codes(out)["labels"].tolist() == expected
    assert sample("--given", file, "--keep", "top", "--label", "bag", "--codes", out) == (0, "")
    assert codes(out)["labels"].tolist() == [1, 1, 1]
    first = edited(file, tmp_path / "first.npz", {name: values[:1] for name, values in codes(file).items()})
    assert sample("--given", first, "--keep", "top", "-n", 2, "--codes", out)[0] == 0
    assert codes(out)["labels"].tolist() == expected[:1] * 2


def test_labels_that_nothing_tells_are_demanded(
    photos: Path, tmp_path: Path, small_bundle: Path, sample: Sample
) -> None:
    file = tmp_path / "photos.npz"
    assert run("encode", photos, "--bundle", small_bundle, "--out", file) == 0
    top = edited(file, tmp_path / "top.npz", {"bottom": None})
    status, stderr = sample("--given", top)
    assert status == 2
    assert "top.npz holds no labels, and the classifier needs all codes (" in stderr
    assert "codes of the level 'bottom' are missing): name the classes of its images with --label" in stderr
    plain = shutil.copytree(small_bundle, tmp_path / "no-classifier")
    edit_manifest(plain, "classifier", value=None)
    status, stderr = sample("--given", file, "--keep", "top", "--bundle", plain)
    assert status == 2
    assert f"photos.npz holds no labels, and {plain} has no classifier to find them: name the classes" in stderr
    assert sample("--given", file, "--keep", "top", "--bundle", plain, "--label", "bag") == (0, "")


def test_labels_are_matched_by_name(drawn: Path, sample: Sample, tmp_path: Path, small_bundle: Path) -> None:
    manifest = Bundle.open(small_bundle).manifest
    arrays = codes(drawn)
    levels = {name: arrays[name] for name in ("top", "bottom")}
    other = tmp_path / "other.npz"

    def write(*classes: str) -> None:
        named = replace(manifest, classes=classes)
        write_codes(
            other, levels, {"labels": arrays["labels"]}, origin=named.origin(), classes=named.classes, force=True
        )

    out = tmp_path / "new.npz"
    write("boot", "hat", "bag")
    assert sample("--given", other, "--keep", "top", "--codes", out) == (0, "")
    assert codes(out)["labels"].tolist() == [1, 2]
    write("hat", "bag", "boot")
    status, stderr = sample("--given", other, "--keep", "top", "--codes", out, "--force")
    assert status == 2
    assert "other.npz holds images of the class 'hat', which the bundle does not have (coat, bag, boot)" in stderr
    status, stderr = sample("--given", other, "--keep", "top", "--label", "coat")
    assert (status, "--label overrides" in stderr) == (0, True)


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
    status, stderr = sample("--given", file, "--keep", "top", "--seed", 3, "--codes", out)
    if isinstance(expected, str):
        assert status == 2
        assert expected in stderr
        assert "plain.npz" in stderr
    else:
        assert (status, stderr, codes(out)["labels"].tolist()) == (0, unrecorded(file), expected)


def test_different_settings_and_another_bundle_are_noted(drawn: Path, sample: Sample, tmp_path: Path) -> None:
    given = ("--given", drawn, "--keep", "top")
    note = f"latentloop: {drawn} was drawn with {{}}; this run draws with {{}}\n"
    same = (*given, "--temperature", 0.9)
    assert sample(*given, "--seed", 3) == (0, note.format("temperature bottom=0.9", "temperature bottom=1.0"))
    assert sample(*given, "--temperature", "bottom=0.9,top=1")[0] == 2  # top is given
    assert sample(*same, "--seed", 3, "--top-k", 5) == (0, note.format("top-k bottom=none", "top-k bottom=5.0"))
    assert sample(*same, "--seed", 3) == (0, "")
    assert sample(*same, "--seed", 3, "--precision", "int8") == (
        0,
        note.format("precision bottom=float32", "precision bottom=int8"),
    )
    assert sample(*same) == (0, note.format("seeds 3 to 4", "fresh seeds"))
    assert sample(*given, "--seed", 4) == (
        0,
        note.format("temperature bottom=0.9, seeds 3 to 4", "temperature bottom=1.0, seeds from 4"),
    )
    greedy = sample(*same, "--top-k", 1)[1]
    assert "top-k bottom=none; this run draws with top-k bottom=1.0" in greedy
    assert "seeds" not in greedy  # the seed has no effect
    assert "seeds" not in sample("--given", drawn, "-n", 2, "--keep", "top,bottom")[1]
    expected = note.format("min-p bottom=0.0", "min-p bottom=0.1")
    assert sample(*same, "--seed", 3, "--min-p", 0.1) == (0, expected)
    with zipfile.ZipFile(drawn, "a") as archive:  # as an earlier release recorded it
        archive.comment = archive.comment.replace(b', "min_p": 0.0', b"")
    assert sample(*same, "--seed", 3) == (0, "")
    assert sample(*same, "--seed", 3, "--min-p", 0.1) == (0, expected)
    set_other_bundle(drawn, "top", "bottom")
    other = f"{drawn} was made with another bundle, whose codes may have another meaning\n"
    assert sample(*same, "--seed", 3) == (0, f"latentloop: {other}")


def set_other_bundle(path: Path, *levels: str) -> None:
    """Records another bundle as the origin of these levels, as an earlier release did: without its VQ-VAE."""
    with zipfile.ZipFile(path, "a") as archive:
        metadata = json.loads(archive.comment)
        for level in levels:
            metadata["origins"][level][-1]["bundle"] = "0123"
            del metadata["origins"][level][-1]["codes_sha256"]
        archive.comment = json.dumps(metadata).encode()


def test_origins_of_kept_levels_are_copied(
    sample: Sample, small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, third, fourth = (tmp_path / f"{name}.npz" for name in "abcd")
    assert sample("-n", 3, "--seed", 1, "--temperature", 0.8, "--top-p", "top=0.9", "--codes", first)[0] == 0
    set_other_bundle(first, "top")
    other = " was made with another bundle, whose codes may have another meaning\n"
    keep = ("--keep", "top", "--temperature", 0.8)
    assert f"{first}{other}" in sample("--given", first, *keep, "--seed", 7, "--codes", second)[1]
    origin = Bundle.open(small_bundle).manifest.origin()
    settings = {"precision": "float32", "temperature": 0.8, "top_k": None, "min_p": 0.0}
    top = {"bundle": "0123", **settings, "top_p": 0.9}
    bottom = {**origin, **settings, "top_p": 1.0}
    assert open_codes(second).origins == {"top": [top | {"seeds": [1, 2, 3]}], "bottom": [bottom]}
    assert codes(second)["seeds"].tolist() == [7, 8, 9]
    for given in (second, fourth):  # repeatedly, and with a level of which a part is drawn
        if given == fourth:
            part = codes(third)
            part["bottom"][:, 4:] = -1
            with zipfile.ZipFile(third) as archive:
                comment = archive.comment
            np.savez(fourth, **part)  # type: ignore[arg-type]
            with zipfile.ZipFile(fourth, "a") as archive:
                archive.comment = comment
        options = () if given == fourth else keep
        assert sample("--given", given, *options, "--seed", 11, "--codes", third, "--force")[0] == 0
        assert open_codes(third).origins["top"] == [top | {"seeds": [1, 2, 3]}]
    assert open_codes(third).origins["bottom"] == [bottom | {"seeds": [11, 12, 13]}, bottom | {"temperature": 1.0}]
    assert run("decode", second, "--bundle", small_bundle, "--out", tmp_path / "x.png") == 0
    assert capsys.readouterr().err == f"latentloop: top of {second}{other}"


def test_encoded_levels_have_an_origin_without_settings(
    sample: Sample, photos: Path, small_bundle: Path, tmp_path: Path
) -> None:
    out, origin = tmp_path / "out.npz", Bundle.open(small_bundle).manifest.origin()
    assert run("encode", photos, "--bundle", small_bundle, "--out", tmp_path / "in.npz") == 0
    for seed in (5, 6):
        given = tmp_path / "in.npz" if seed == 5 else out
        assert sample("--given", given, "--keep", "top", "--seed", seed, "--codes", out)[0] == 0
        assert open_codes(out).origins["top"] == [origin]
    np.savez(tmp_path / "plain.npz", top=codes(out)["top"])
    plain = tmp_path / "plain.npz"
    assert sample("--given", plain, "--label", "bag", "--codes", out) == (0, unrecorded(plain))
    assert sorted(open_codes(out).origins) == ["bottom"]  # the origin of the other level is unknown


def test_too_many_seeds_are_left_out_of_the_comment(tmp_path: Path, small_bundle: Path) -> None:
    manifest = Bundle.open(small_bundle).manifest
    earlier_origins = {"top": [{"bundle": "0123", "temperature": 0.5, "seeds": list(range(20_000))}]}
    write_codes(
        tmp_path / "a.npz",
        {},
        {},
        origin=manifest.origin(),
        classes=manifest.classes,
        settings={},
        earlier_origins=earlier_origins,
    )
    assert open_codes(tmp_path / "a.npz").origins == {"top": [{"bundle": "0123", "temperature": 0.5}]}
    assert len(earlier_origins["top"][0]["seeds"]) == 20_000  # type: ignore[arg-type]


def test_decode_names_images_like_sample(
    drawn: Path, small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("decode", drawn, "--bundle", small_bundle, "--json", "--out")
    assert run(*command, f"{tmp_path}/images/") == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["labels"], summary["seeds"]) == (["boot", "coat"], [3, 4])
    names = sorted(path.name for path in (tmp_path / "images").glob("*.png"))
    assert names == ["00000-boot-seed3.png", "00001-coat-seed4.png"]
    plain = edited(drawn, tmp_path / "plain.npz", {"labels": None, "seeds": None})
    assert run("decode", plain, "--bundle", small_bundle, "--out", f"{tmp_path}/plain/") == 0
    assert np.array_equal(pixels(tmp_path / "plain" / "00001.png"), pixels(tmp_path / "images" / names[1]))
    edited(plain, tmp_path / "odd.npz", {"seeds": np.zeros(3, np.int64)})
    assert run("decode", tmp_path / "odd.npz", "--bundle", small_bundle, "--out", tmp_path / "b.png") == 2
    assert "odd.npz: seeds are int64 [3], expected integers [2]" in capsys.readouterr().err


def test_codes_in_a_wrong_order_name_the_file(drawn: Path, sample: Sample, tmp_path: Path) -> None:
    with np.load(drawn) as archive:
        top = archive["top"].copy()
    top[1, 0] = -1
    status, stderr = sample("--given", edited(drawn, tmp_path / "odd.npz", {"top": top}))
    assert status == 2
    assert "odd.npz: given codes of top, sample 1: a kept code follows a -1" in stderr


@pytest.mark.parametrize("name", ["extra", "Labels", "middle"])
def test_arrays_of_unknown_names_are_refused(
    drawn: Path, sample: Sample, tmp_path: Path, small_bundle: Path, fails: Callable[..., str], name: str
) -> None:
    file = edited(drawn, tmp_path / "odd.npz", {name: np.zeros((2, 4, 6), np.int64)})
    status, stderr = sample("--given", file, "--keep", "top")
    assert status == 2
    assert f"there is no level {name!r}" in stderr
    assert f"there is no level {name!r}" in fails(
        2, "decode", file, "--bundle", small_bundle, "--out", tmp_path / "b.png"
    )


def comment(**fields: Any) -> bytes:
    return json.dumps({"format": "latentloop-codes-1", **fields}).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"of another program", None),
        (
            b'{"format": "latentloop-codes-2"}',
            r"comment\.format is 'latentloop-codes-2', expected one of latentloop-codes-1",
        ),
        (b'{"format": "latentloop-codes-1"', "comment: not readable as JSON"),
        (comment(classes={"x": "a"}), r"comment\.classes: label 'x' is 'x', expected an integer"),
        (comment(classes={"1": 5}), r"comment\.classes\.1 is 5, expected a string"),
        (comment(origins=5), r"comment\.origins is 5, expected an object"),
        (comment(origins={"top": [5]}), r"comment\.origins\.top\[0\] is 5, expected an object"),
        (comment(origins={"top": [{"bundle": 5}]}), r"comment\.origins\.top\[0\]\.bundle is 5, expected a string"),
        (comment(origins={"top": [{"codes_sha256": []}]}), r"top\[0\]\.codes_sha256 is \[\], expected a string"),
        (comment(origins={"top": [{"top_p": "0.5"}]}), r"top\[0\]\.top_p is '0.5', expected a number"),
        (comment(origins={"top": [{"seeds": [1, 2.5]}]}), r"top\[0\]\.seeds\[1\] is 2.5, expected an integer from 0"),
        (comment(origins={"top": [{"seeds": -1}]}), r"top\[0\]\.seeds is -1, expected an integer from 0"),
        (comment(origins={"top": [{"min_p": float("nan")}]}), r"top\[0\]\.min_p is nan, expected a finite number"),
    ],
)
def test_comments_of_other_programs_and_damaged_comments(drawn: Path, content: bytes, message: str | None) -> None:
    with zipfile.ZipFile(drawn, "a") as archive:
        archive.comment = content
    if message is None:
        assert open_codes(drawn).origins == {}
    else:
        with pytest.raises(InputError, match=message):
            open_codes(drawn)


def test_too_many_class_names_are_left_out_of_the_comment(tmp_path: Path, small_bundle: Path) -> None:
    manifest = replace(Bundle.open(small_bundle).manifest, classes=tuple(f"{n:050}" for n in range(3000)))
    write_codes(
        tmp_path / "a.npz",
        {"top": np.zeros(1)},
        {"labels": np.arange(3000)},
        origin=manifest.origin(),
        classes=manifest.classes,
    )
    file = open_codes(tmp_path / "a.npz")
    assert (file.classes, file.origins) == ({}, {"top": [manifest.origin()]})
    assert file.labels(3000, manifest.classes) == list(manifest.classes)


def test_a_level_that_is_drawn_in_parts_keeps_one_origin_of_equal_runs(
    drawn: Path, sample: Sample, tmp_path: Path
) -> None:
    file, lengths = tmp_path / "a.npz", set()
    shutil.copy(drawn, file)
    for seed in (3, 3, 3, 9, 9):
        arrays = codes(file)
        arrays["bottom"][:, 4:] = -1
        origins = open_codes(file).origins
        write_codes(
            file,
            {name: arrays.pop(name) for name in ("top", "bottom")},
            arrays,
            earlier_origins=origins,
            force=True,
        )
        assert sample("--given", file, "--seed", seed, "--codes", file, "--force")[0] == 0
        lengths.add((seed, len(open_codes(file).origins["bottom"])))
    assert lengths == {(3, 2), (9, 3)}  # the first origin is that of ``drawn``, of another temperature
    assert [origin.get("seeds") for origin in open_codes(file).origins["bottom"]] == [[3, 4], [3, 4], None]


def test_the_oldest_origins_are_left_out_of_a_comment_that_is_too_long(tmp_path: Path) -> None:
    origins = {"top": [{"bundle": f"{n:0500}"} for n in range(200)], "bottom": [{"bundle": "b"}]}
    write_codes(tmp_path / "a.npz", {"top": np.zeros(1)}, {}, earlier_origins=origins)
    written = open_codes(tmp_path / "a.npz").origins
    assert 100 < len(written["top"]) < 200
    assert written["top"] == origins["top"][-len(written["top"]) :]
    assert written["bottom"] == origins["bottom"]
    huge = {"top": [{"bundle": "0" * 2**17}]}
    write_codes(tmp_path / "b.npz", {"top": np.zeros(1)}, {}, earlier_origins=huge)
    assert open_codes(tmp_path / "b.npz").origins == {}
