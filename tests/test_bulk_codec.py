"""`latentloop encode`, `decode` and `reconstruct` into folders: the same results as in one file, in bounded memory, and
runs that go on.
"""

from __future__ import annotations

import csv
import json
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bulk_folders import journal, npz_images, png_images
from command_line import RGB, codes, run
from killed_runs import digests
from PIL import Image

from latentloop import Bundle, Sampler
from latentloop.cli.image_inputs import ImageInputs
from latentloop.images import read_images

N = 7
Fails = Callable[..., str]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Seven images of 32 x 48, in sub-folders with names of classes."""
    random = np.random.default_rng(0)
    for index in range(N):
        path = tmp_path / "pictures" / ("coat", "bag")[index % 2] / f"{index}.png"
        path.parent.mkdir(exist_ok=True, parents=True)
        Image.fromarray(random.integers(0, 256, RGB, np.uint8)).save(path)
    return tmp_path / "pictures"


@pytest.fixture
def command(small_bundle: Path, tmp_path: Path) -> Callable[..., tuple[object, ...]]:
    def arguments(name: str, inputs: object, *options: object, out: str = "out") -> tuple[object, ...]:
        fixed = ("--bundle", small_bundle, "--threads", 1, "--shard-size", 3)
        return (name, inputs, *fixed, "--out", f"{tmp_path / out}/", *options)

    return arguments


Command = Callable[..., tuple[object, ...]]


def check_shapes(summary: dict[str, Any], again: dict[str, Any]) -> None:
    """Programs that read the summary of a run also read that of a run which was finished already."""
    assert again.keys() == summary.keys()
    for name, value in again.items():
        assert value is None or type(value) is type(summary[name]), name


def test_shards_of_codes_hold_what_one_file_holds(
    small_bundle: Path, pictures: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("encode", pictures, "--bundle", small_bundle, "--threads", 1, "--out", tmp_path / "all.npz") == 0
    assert run(*command("encode", pictures)) == 0
    assert "out/: codes of 7 images (top 4 x 6, bottom 8 x 12; with labels)" in capsys.readouterr().out
    whole, shards = codes(tmp_path / "all.npz"), sorted((tmp_path / "out").glob("codes-*.npz"))
    assert [path.name for path in shards] == [f"codes-0000{number}.npz" for number in range(3)]
    for name, values in whole.items():
        assert np.array_equal(np.concatenate([codes(path)[name] for path in shards]), values), name
    # Codes of the folder, of its files and of the one file give the same images.
    images = {}
    for form, inputs in (("folder", [tmp_path / "out"]), ("files", shards), ("whole", [tmp_path / "all.npz"])):
        assert run("decode", *inputs, *command("decode", "")[2:], "--out", f"{tmp_path}/{form}/") == 0
        images[form] = digests(tmp_path / form)
        del images[form]["journal.jsonl"]
    assert images["folder"] == images["files"] == images["whole"]
    assert len(images["folder"]) == N


def test_images_are_the_samplers(
    small_bundle: Path, pictures: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    sampler = Sampler(Bundle.open(small_bundle), threads=1)
    originals = read_images([pictures], RGB)
    expected = sampler.decode(sampler.encode(originals))
    assert run(*command("reconstruct", pictures, "--json")) == 0
    summary = json.loads(capsys.readouterr().out)
    assert np.array_equal(png_images(tmp_path / "out"), expected)
    errors = ((originals / 255 - expected / 255) ** 2).mean((1, 2, 3))
    assert summary["mean_squared_error_by_image"] == pytest.approx(errors)
    assert summary["mean_squared_error"] == pytest.approx(errors.mean())
    rows = [
        row
        for path in sorted((tmp_path / "out").glob("files-*.csv"))
        for row in csv.DictReader(path.read_text().splitlines())
    ]
    assert [(int(row["number"]), row["file"], float(row["mean_squared_error"])) for row in rows] == list(
        zip(range(N), summary["images"], summary["mean_squared_error_by_image"], strict=True)
    )
    assert run("reconstruct", pictures, "--bundle", small_bundle, "--threads", 1, "--json") == 0
    assert json.loads(capsys.readouterr().out)["mean_squared_error"] == summary["mean_squared_error"]


@pytest.mark.parametrize("format", ["png", "npz", "tar"])
def test_decode_writes_every_format(pictures: Path, tmp_path: Path, command: Command, format: str) -> None:
    assert run(*command("encode", pictures, out="codes")) == 0
    labels = np.concatenate([codes(path)["labels"] for path in sorted((tmp_path / "codes").glob("*.npz"))])
    assert run(*command("decode", tmp_path / "codes", "--format", format, "--scale", 2)) == 0
    folder = tmp_path / "out"
    if format == "png":
        assert [path.name for path in sorted(folder.glob("*.png"))][::6] == ["00000-bag.png", "00006-coat.png"]
    elif format == "npz":
        arrays = npz_images(folder)
        assert arrays["arr_0"].shape == (N, 64, 96, 3)
        assert np.array_equal(arrays["arr_1"], labels)
        assert "seeds" not in arrays
    else:
        with tarfile.open(folder / "shard-00000.tar") as archive:
            names = archive.getnames()
            assert names[:3] == ["00000000.png", "00000000.cls", "00000000.json"]
            content = archive.extractfile("00000000.json")
            assert content is not None
            assert json.load(content) == {"label": int(labels[0]), "class": "bag"}


def test_labels_that_the_bundle_does_not_have_are_in_names_only(
    pictures: Path, tmp_path: Path, command: Command
) -> None:
    assert run(*command("encode", pictures, out="codes")) == 0
    arrays = codes(tmp_path / "codes" / "codes-00000.npz")
    changed: dict[str, Any] = {**arrays, "labels": np.array(["coat", "sock", "coat"])}
    np.savez(tmp_path / "a.npz", **changed)
    assert run(*command("decode", tmp_path / "a.npz", "--format", "npz")) == 0
    assert "arr_1" not in npz_images(tmp_path / "out")
    assert run(*command("decode", tmp_path / "a.npz", out="png")) == 0
    assert [path.name for path in sorted((tmp_path / "png").glob("*.png"))] == [
        "00000-coat.png",
        "00001-sock.png",
        "00002-coat.png",
    ]


def test_labels_and_seeds_that_only_some_files_have_are_told(
    pictures: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*command("encode", pictures, out="codes")) == 0
    arrays: dict[str, Any] = codes(tmp_path / "codes" / "codes-00001.npz")
    del arrays["labels"]
    np.savez(tmp_path / "codes" / "codes-00001.npz", **arrays, seeds=np.arange(3))
    assert run(*command("decode", tmp_path / "codes")) == 0
    err = capsys.readouterr().err
    assert "labels are not used: only 2 of 3 files have them" in err
    assert "seeds are not used: only 1 of 3 files have them" in err
    assert min(path.name for path in (tmp_path / "out").glob("*.png")) == "00000.png"


@pytest.mark.parametrize("name", ["encode", "reconstruct", "decode"])
def test_the_same_command_goes_on_and_then_says_that_it_is_finished(
    pictures: Path,
    tmp_path: Path,
    command: Command,
    name: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inputs = pictures
    if name == "decode":
        assert run(*command("encode", pictures, out="codes")) == 0
        inputs = tmp_path / "codes"
    assert run(*command(name, inputs)) == 0
    before = digests(tmp_path / "out")
    line = capsys.readouterr().out.splitlines()[-1]
    for path in sorted((tmp_path / "out").iterdir()):
        if path.name == "journal.jsonl":
            continue
        content = path.read_bytes()
        path.write_bytes(content[:-1])
        assert run(*command(name, inputs)) == 0
        err = capsys.readouterr().err
        assert f"{path.name} has {len(content) - 1} bytes instead of {len(content)}" in err
        assert {**digests(tmp_path / "out"), "journal.jsonl": ""} == {**before, "journal.jsonl": ""}
    monkeypatch.setattr(Sampler, "__init__", None)
    assert run(*command(name, inputs)) == 0
    out = capsys.readouterr().out
    assert "out/: all 7 images are there already" in out
    if name == "reconstruct":
        assert line.partition(": ")[2].partition(";")[0] in out
    assert run(*command(name, inputs, "--json")) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["images_before"] == N
    monkeypatch.undo()
    assert run(*command(name, inputs, "--json", "--force")) == 0
    check_shapes(json.loads(capsys.readouterr().out), again)


def test_what_differs_is_refused_by_name(
    pictures: Path, tmp_path: Path, command: Command, fails: Fails, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*command("encode", pictures)) == 0
    capsys.readouterr()
    for options, field in (
        (("--resize",), "resize was False, this command has True"),
        (("--skip-bad",), "skip_bad was False, this command has True"),
        (("--shard-size", 2), "shard_size was 3, this command has 2"),
        (("--threads", 2), "threads was 1, this command has 2"),
    ):
        assert field in fails(2, *command("encode", pictures, *options))
    assert "command was 'encode', this command has 'reconstruct'" in fails(2, *command("reconstruct", pictures))
    (pictures / "coat" / "0.png").touch()
    message = fails(2, *command("encode", pictures))
    assert "inputs_sha256 was" in message
    assert "images were changed, added or removed since, or are named by another path" in message
    assert run(*command("encode", pictures, "--force")) == 0
    capsys.readouterr()
    (pictures / "coat" / "0.png").unlink()
    message = fails(2, *command("encode", pictures))
    assert "inputs_sha256 was" in message
    assert "images were changed, added or removed since, or are named by another path" in message
    assert run(*command("decode", tmp_path / "out", out="images")) == 0
    capsys.readouterr()
    (tmp_path / "out" / "codes-00002.npz").unlink()
    assert "n was 7, this command has 6" in fails(2, *command("decode", tmp_path / "out", out="images"))


def test_codes_of_a_run_that_is_not_finished_are_told(
    pictures: Path, tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*command("encode", pictures)) == 0
    path = tmp_path / "out" / "journal.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    assert run(*command("decode", tmp_path / "out", out="images")) == 0
    assert f"{tmp_path}/out is not finished: 1 of its shards are missing" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["encode", "reconstruct"])
def test_images_that_change_after_the_check_are_left_out(
    pictures: Path,
    tmp_path: Path,
    command: Command,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Those of the second shard cannot be read any more: it has no file, and the run still counts as finished."""
    original = ImageInputs.check

    def check(*arguments: Any) -> ImageInputs:
        inputs = original(*arguments)
        for file in inputs.files[3:6]:
            assert isinstance(file, Path)
            file.write_bytes(b"")
        return inputs

    monkeypatch.setattr(ImageInputs, "check", check)
    assert run(*command(name, pictures, "--skip-bad")) == 0
    assert "left out: 3 of 7 inputs changed" in capsys.readouterr().err
    written = [file["name"] for record in journal(tmp_path / "out")[1:] for file in record["files"]]
    assert len(written) == {"encode": 2, "reconstruct": 3 + 1 + 2}[name]
    assert [record["images"] for record in journal(tmp_path / "out")[1:]] == [3, 0, 1]
    assert all((tmp_path / "out" / file).is_file() for file in written)


@pytest.mark.parametrize("name", ["encode", "reconstruct"])
def test_an_image_that_cannot_be_read_for_a_moment_is_not_lost(
    pictures: Path, tmp_path: Path, command: Command, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = ImageInputs.check
    away = tmp_path / "away.png"

    def check(*arguments: Any) -> ImageInputs:
        inputs = original(*arguments)
        file = inputs.files[1]
        assert isinstance(file, Path)
        file.rename(away)
        monkeypatch.undo()
        return inputs

    file = sorted(pictures.rglob("*.png"))[1]
    assert run(*command(name, pictures, out="whole")) == 0
    monkeypatch.setattr(ImageInputs, "check", check)
    assert run(*command(name, pictures)) == 2
    assert [(record["partial"], record["images"]) for record in journal(tmp_path / "out")[1:]] == [
        (True, 2),
        (False, 3),
        (False, 1),
    ]
    away.rename(file)
    assert run(*command(name, pictures)) == 0
    assert {**digests(tmp_path / "out"), "journal.jsonl": ""} == {**digests(tmp_path / "whole"), "journal.jsonl": ""}


def test_results_inside_a_folder_of_inputs_are_no_inputs(small_bundle: Path, pictures: Path) -> None:
    arguments = ("reconstruct", pictures, "--bundle", small_bundle, "--out", f"{pictures}/results/")
    assert run(*arguments) == 0
    before = digests(pictures / "results")
    assert run(*arguments) == 0
    assert digests(pictures / "results") == before
    assert len(before) == N + 2


def test_options_of_folders_are_refused_elsewhere(
    small_bundle: Path, pictures: Path, tmp_path: Path, fails: Fails
) -> None:
    inputs = (pictures, "--bundle", small_bundle)
    message = fails(2, "encode", *inputs, "--shard-size", 2, "--out", tmp_path / "a.npz")
    assert "--shard-size applies to a folder of codes" in message
    for option in (("--format", "npz"), ("--shard-size", 2)):
        assert f"{option[0]} applies to a folder" in fails(2, "reconstruct", *inputs, *option, "--out", "a.png")
        assert f"{option[0]} applies to written images" in fails(2, "reconstruct", *inputs, *option)
    assert "exists" in fails(1, "encode", *inputs, "--out", f"{pictures}/")
    assert "also holds bag, which --force would remove" in fails(
        1, "encode", *inputs, "--out", f"{pictures}/", "--force"
    )
    assert "would replace" in fails(2, "encode", *inputs, "--out", f"{pictures}/coat/0.png/")


@pytest.mark.parametrize("name", ["encode", "reconstruct", "decode"])
def test_memory_does_not_grow_with_the_number_of_images(
    small_bundle: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command, name: str
) -> None:
    """With a fake encoder and decoder: their own memory is not measured."""
    sizes = {"top": (4, 6), "bottom": (80, 12)}

    def encode(self: Sampler, images: Any) -> dict[str, Any]:
        return {level: np.zeros((len(images), *size), np.int64) for level, size in sizes.items()}

    assert run(*command("encode", pictures, out="codes")) == 0
    monkeypatch.setattr(Sampler, "encode", encode)
    monkeypatch.setattr(Sampler, "decode", lambda self, codes: np.zeros((len(codes["top"]), *RGB), np.uint8))
    inputs: list[object] = [next((pictures / "coat").iterdir())]
    if name == "decode":
        inputs = [next((tmp_path / "codes").glob("*.npz"))]

    def peak(count: int) -> int:
        tracemalloc.start()
        try:
            options = command(name, "", "--format", "npz")[2:] if name != "encode" else command(name, "")[2:]
            assert run(name, *inputs * count, *options, "--shard-size", 16, "--force") == 0
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(64)  # includes the memory of imports
    few, many = peak(64), peak(512)
    assert many - few < 448 * 2000, (few, many)  # the codes of an image have 7900 bytes, its pixels 4600; names stay
