"""`encode` and `reconstruct` with many files: checked first, read part by part, problems reported."""

from __future__ import annotations

import json
import os
import signal
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import codes, pixels, run
from image_bytes import png

from latentloop import Sampler
from latentloop.cli import progress
from latentloop.cli.image_inputs import ImageInputs

SIDES = (32, 48, 3)
GOOD = ("0.png", "1.png", "below/2.png", "below/3.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of four images that can be read."""
    inside = tmp_path / "many"
    for index, name in enumerate(GOOD):
        path = inside / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(np.random.default_rng(index).integers(0, 256, SIDES), 8, 2))
    return inside


def add_bad_files(folder: Path) -> list[str]:
    """Adds three files that cannot be used, and returns their names."""
    (folder / "cut.png").write_bytes((folder / "0.png").read_bytes()[:200])
    (folder / "below" / "none.jpg").write_bytes(b"")
    (folder / "small.png").write_bytes(png([[1]], 8, 0))
    return ["below/none.jpg", "cut.png", "small.png"]


@pytest.fixture
def encoder_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of images in each call of the encoder."""
    calls: list[int] = []
    original = Sampler.encode

    def encode(self: Sampler, images: Any) -> Any:
        calls.append(len(images))
        return original(self, images)

    monkeypatch.setattr(Sampler, "encode", encode)
    return calls


@pytest.mark.parametrize("command", ["encode", "reconstruct"])
def test_all_files_that_cannot_be_used_are_named_before_the_work(
    small_bundle: Path, folder: Path, tmp_path: Path, fails: Callable[..., str], encoder_calls: list[int], command: str
) -> None:
    bad = add_bad_files(folder)
    out = tmp_path / ("a.npz" if command == "encode" else "a.png")
    message = fails(2, command, folder, tmp_path / "gone.png", "--bundle", small_bundle, "--out", out)
    assert "4 of 8 inputs cannot be used" in message
    for name in (*bad, "gone.png"):
        assert f"/{name} " in message
    assert "--resize" in message
    assert message.rstrip().endswith("--skip-bad leaves them out")
    assert not encoder_calls
    assert not out.exists()


def test_skip_bad_leaves_out_files_and_lists_them(
    small_bundle: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("encode", folder, "--bundle", small_bundle, "--out", tmp_path / "all.npz") == 0
    bad = add_bad_files(folder)
    out = tmp_path / "a.npz"
    capsys.readouterr()
    assert run("encode", folder, "--bundle", small_bundle, "--skip-bad", "--out", out, "--json") == 0
    printed = capsys.readouterr()
    summary = json.loads(printed.out)
    good = [str(folder / name) for name in GOOD]
    assert summary["images"] == codes(out)["files"].tolist() == good
    assert [item["file"] for item in summary["skipped"]] == [str(folder / name) for name in bad]
    assert all(item["reason"] for item in summary["skipped"])
    assert "3 of 7 inputs are left out: " in printed.err
    for name in bad:
        assert f"/{name} " in printed.err
    for level in ("top", "bottom"):
        assert np.array_equal(codes(out)[level], codes(tmp_path / "all.npz")[level])
    assert run("reconstruct", folder, "--bundle", small_bundle, "--skip-bad", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["images"] == good
    assert len(summary["skipped"]) == 3


def test_only_bad_files_are_an_error(small_bundle: Path, tmp_path: Path, fails: Callable[..., str]) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"")
    out = tmp_path / "a.npz"
    message = fails(2, "encode", tmp_path, "--skip-bad", "--bundle", small_bundle, "--out", out)
    assert "2 of 2 inputs cannot be used" in message
    assert "--skip-bad" not in message
    assert not out.exists()


def test_a_link_to_a_folder_is_noted(
    small_bundle: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "link").symlink_to(tmp_path)
    assert run("encode", folder, "--bundle", small_bundle, "--out", tmp_path / "a.npz") == 0
    assert "a link to a folder is not followed" in capsys.readouterr().err


def test_a_file_name_with_undecodable_bytes_is_stored(small_bundle: Path, folder: Path, tmp_path: Path) -> None:
    odd = folder / os.fsdecode(b"\xff\n.png")
    (folder / "0.png").rename(odd)
    assert run("encode", folder, "--bundle", small_bundle, "--out", tmp_path / "a.npz") == 0
    assert str(odd) in codes(tmp_path / "a.npz")["files"].tolist()


@pytest.fixture
def changed_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is damaged after all files were checked."""
    original, file = ImageInputs.check, folder / "1.png"

    def check(*arguments: Any) -> ImageInputs:
        inputs = original(*arguments)
        file.write_bytes(b"")
        return inputs

    monkeypatch.setattr(ImageInputs, "check", check)
    return file


def test_a_file_that_changes_after_the_check_is_an_error_and_the_others_are_encoded(
    small_bundle: Path, changed_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.npz"
    assert run("encode", changed_file.parent, "--bundle", small_bundle, "--out", out) == 2
    message = capsys.readouterr().err.rstrip()
    assert "1 of 4 inputs changed after they were checked: " in message
    assert "/1.png cannot be read" in message
    assert message.endswith(f"{out} holds the codes of 3")
    expected = [str(changed_file.parent / name) for name in GOOD if name != "1.png"]
    assert codes(out)["files"].tolist() == expected
    assert len(codes(out)["top"]) == 3


def test_skip_bad_skips_a_file_that_changes_after_the_check(
    small_bundle: Path, changed_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = f"{tmp_path}/reconstructed/"
    assert run("reconstruct", changed_file.parent, "--bundle", small_bundle, "--skip-bad", "--out", out, "--json") == 0
    printed = capsys.readouterr()
    assert "left out: 1 of 4 inputs changed after they were checked: " in printed.err
    summary = json.loads(printed.out)
    assert [item["file"] for item in summary["skipped"]] == [str(changed_file)]
    assert len(summary["mean_squared_error_by_image"]) == 3
    assert sorted(path.name for path in Path(out).glob("*.png")) == ["00000.png", "00002.png", "00003.png"]


@pytest.mark.parametrize("out", ["a.npz", "a.png", "a/"])
def test_an_error_writes_nothing_if_the_only_file_changes_after_the_check(
    small_bundle: Path, changed_file: Path, tmp_path: Path, fails: Callable[..., str], out: str
) -> None:
    command = "encode" if out.endswith(".npz") else "reconstruct"
    message = fails(2, command, changed_file, "--bundle", small_bundle, "--skip-bad", "--out", f"{tmp_path}/{out}")
    assert "1 of 1 inputs changed after they were checked" in message
    assert [path.name for path in tmp_path.iterdir()] == ["many"]


def test_the_size_of_a_part_does_not_change_results_and_each_image_is_encoded_once(
    small_bundle: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder_calls: list[int]
) -> None:
    assert run("encode", folder, "--bundle", small_bundle, "--out", tmp_path / "a.npz") == 0
    assert run("reconstruct", folder, "--bundle", small_bundle, "--out", f"{tmp_path}/a/", "--scale", 2) == 0
    assert run("reconstruct", folder, "--bundle", small_bundle, "--out", tmp_path / "a.png") == 0
    assert encoder_calls == [4, 4, 4]
    monkeypatch.setattr(progress, "PART", 3)
    assert run("encode", folder, "--bundle", small_bundle, "--out", tmp_path / "b.npz") == 0
    assert run("reconstruct", folder, "--bundle", small_bundle, "--out", f"{tmp_path}/b/", "--scale", 2) == 0
    assert run("reconstruct", folder, "--bundle", small_bundle, "--out", tmp_path / "b.png") == 0
    assert encoder_calls[3:] == [3, 1, 4, 3, 1]  # those of a folder are batches of its shards
    for name in ("files", "top", "bottom"):
        assert np.array_equal(codes(tmp_path / "a.npz")[name], codes(tmp_path / "b.npz")[name])
    for index in range(4):
        a, b = (pixels(tmp_path / side / f"{index:05}.png") for side in "ab")
        assert a.shape == (64, 96, 3)
        assert np.array_equal(a, b)
    assert np.array_equal(pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png"))


@pytest.mark.parametrize("command", ["encode", "reconstruct", "folder"])
def test_memory_does_not_grow_with_the_number_of_images(
    small_bundle: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """With a fake encoder and decoder: their own memory is not measured."""
    monkeypatch.setattr(progress, "PART", 8)
    sizes = {"top": (4, 6), "bottom": (8, 12)}

    def encode(self: Sampler, images: Any) -> dict[str, Any]:
        return {level: np.zeros((len(images), *size), np.int64) for level, size in sizes.items()}

    monkeypatch.setattr(Sampler, "encode", encode)
    monkeypatch.setattr(Sampler, "decode", lambda self, codes: np.zeros((len(codes["top"]), *SIDES), np.uint8))
    arguments = {
        "encode": ("encode", "--out", tmp_path / "a.npz"),
        "reconstruct": ("reconstruct",),
        "folder": ("reconstruct", "--out", f"{tmp_path}/a/"),
    }[command]

    def peak(count: int) -> int:
        tracemalloc.start()
        try:
            assert run(*arguments, *[folder / "0.png"] * count, "--bundle", small_bundle, "--force") == 0
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(40)  # includes the memory of imports
    few, many = peak(40), peak(240)
    codes_memory = 200 * 8 * (4 * 6 + 8 * 12) if command == "encode" else 0
    assert many - few < codes_memory + 200 * np.prod(SIDES) / 2


def test_ctrl_c_writes_the_encoded_images(
    small_bundle: Path,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(progress, "PART", 3)
    original = Sampler.encode

    def encode(self: Sampler, images: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return original(self, images)

    monkeypatch.setattr(Sampler, "encode", encode)
    out = tmp_path / "a.npz"
    assert run("encode", folder, "--bundle", small_bundle, "--out", out) == 130
    assert codes(out)["files"].tolist() == [str(folder / name) for name in GOOD[:3]]
    assert f"interrupted, {out} holds the codes of 3 of 4 images" in capsys.readouterr().err
