"""`decode` and `reconstruct` write the finished images when a signal stops them, and never replace their inputs."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import codes, pixels, run

from latentloop.sampling.sampler import Sampler

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}
Stop = Callable[[signal.Signals, int], None]


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Stop:
    """Sends a signal while the given batch, of two images, is decoded."""
    decode, batches = Sampler.decode, 0

    def patch(sent: signal.Signals, at: int) -> None:
        def stopped(self: Sampler, codes: Any) -> Any:
            nonlocal batches
            batches += 1
            if batches == at:
                signal.raise_signal(sent)
            return decode(self, codes)

        monkeypatch.setattr(Sampler, "decode", stopped)
        monkeypatch.setattr(Sampler, "default_batch_size", 2)

    return patch


@pytest.fixture
def six_codes(small_bundle: Path, photos: Path, tmp_path: Path) -> Path:
    """The codes of six images."""
    path = tmp_path / "six.npz"
    assert run("encode", photos, photos, "--bundle", small_bundle, "--out", path) == 0
    return path


@pytest.mark.parametrize("sent", STATUS)
@pytest.mark.parametrize("out", ["a/", "a.png"])
@pytest.mark.parametrize("command", ["decode", "reconstruct"])
def test_finished_images_are_written(
    small_bundle: Path,
    photos: Path,
    six_codes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    stop: Stop,
    command: str,
    out: str,
    sent: signal.Signals,
) -> None:
    inputs = [six_codes] if command == "decode" else [photos, photos]
    common = (command, *inputs, "--bundle", small_bundle, "--json")
    assert run(*common, "--out", f"{tmp_path}/all/") == 0
    complete = json.loads(capsys.readouterr().out)
    stop(sent, 2)
    assert run(*common, "--out", f"{tmp_path}/{out}") == STATUS[sent]
    stdout, stderr = capsys.readouterr()
    summary = json.loads(stdout)
    goes_on = "; the same command goes on" if out == "a/" else ""
    assert stderr == f"latentloop: interrupted, 4 of 6 images were finished and written{goes_on}\n"
    assert summary["cancelled"]
    assert not complete["cancelled"]
    if command == "decode":
        assert summary["images"] == 4
    else:
        assert summary["images"] == complete["images"][:4]
        errors = complete["mean_squared_error_by_image"][:4]
        assert summary["mean_squared_error_by_image"] == errors
        assert summary["mean_squared_error"] == pytest.approx(np.mean(errors))
    if out == "a/":
        assert [path.name for path in sorted((tmp_path / "a").glob("*.png"))] == [
            f"{index:05}.png" for index in range(4)
        ]
        assert run(*common, "--out", f"{tmp_path}/{out}") == 0
        for path in (tmp_path / "all").glob("*.*g"):
            assert np.array_equal(pixels(tmp_path / "a" / path.name), pixels(path))
        again = json.loads(capsys.readouterr().out)
        if command == "reconstruct":
            assert again["mean_squared_error_by_image"] == complete["mean_squared_error_by_image"]
    else:
        assert pixels(tmp_path / "a.png").size


@pytest.mark.parametrize("command", ["decode", "reconstruct"])
def test_nothing_is_written_if_no_image_is_finished(
    small_bundle: Path,
    photos: Path,
    six_codes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    from latentloop.cli import progress
    from latentloop.cli.folders import shard_command

    parts, bar = progress.parts, progress.Bar

    def stopped(count: int, label: str) -> Any:
        for part in parts(count, label):
            if label == command:
                signal.raise_signal(signal.SIGTERM)
            yield part

    def stopping_bar(unit: str, label: str) -> progress.Bar:
        signal.raise_signal(signal.SIGTERM)
        return bar(unit, label)

    monkeypatch.setattr(progress, "parts", stopped)  # of a grid
    monkeypatch.setattr(shard_command, "Bar", stopping_bar)  # of a folder
    inputs = six_codes if command == "decode" else photos
    before = sorted(os.listdir(tmp_path))
    for out in ("a/", "a.png"):
        assert run(command, inputs, "--bundle", small_bundle, "--json", "--out", f"{tmp_path}/{out}") == 143
        stdout, stderr = capsys.readouterr()
        assert json.loads(stdout)["file"] is None
        assert stderr == "latentloop: interrupted, no image was finished\n"
    assert sorted(os.listdir(tmp_path)) == before


def test_figures_of_finished_images_without_an_output(
    small_bundle: Path, photos: Path, capsys: pytest.CaptureFixture[str], stop: Stop
) -> None:
    stop(signal.SIGTERM, 1)
    assert run("reconstruct", photos, "--bundle", small_bundle) == 143
    stdout, stderr = capsys.readouterr()
    assert stdout.startswith("2 images: mean squared error 0.")
    assert stderr == "latentloop: interrupted, 2 of 3 images were finished\n"


def test_images_never_replace_their_inputs(
    small_bundle: Path,
    six_codes: Path,
    tmp_path: Path,
    fails: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("decode", six_codes, "--bundle", small_bundle, "--out", f"{tmp_path}/o/") == 0
    capsys.readouterr()
    (tmp_path / "link").symlink_to("o")
    before = {file.name: file.read_bytes() for file in (tmp_path / "o").iterdir()}
    common = ("reconstruct", "--bundle", small_bundle, "--force", "--out")
    for out, source in (
        ("o/", "o/00001.png"),
        ("o/", "o"),
        ("x/../o/", "o"),
        ("o/", "link/00000.png"),
        ("o/00001.png", "o"),
        ("link/00001.png", "o/00001.png"),
    ):
        message = fails(2, *common, f"{tmp_path}/{out}", tmp_path / source)
        assert "would replace" in message
        assert "which is to be read" in message
    assert {file.name: file.read_bytes() for file in (tmp_path / "o").iterdir()} == before
    six_codes.rename(tmp_path / "six.png")
    assert "would replace" in fails(
        2, "decode", tmp_path / "six.png", "--bundle", small_bundle, "--force", "--out", tmp_path / "six.png"
    )
    assert codes(tmp_path / "six.png")


@pytest.mark.parametrize(
    ("out", "file", "message"),
    [
        ("same.npz/", "same.npz", "is in the folder of --out"),
        ("new/../a/", "a/x.npz", "is in the folder of --out"),
        ("a/", "new/../a/below/x.npz", "is in the folder of --out"),
        ("link/", "real/x.npz", "is in the folder of --out"),
        ("x.npz/a.png", "x.npz", "is below --codes"),
    ],
)
def test_images_and_codes_must_have_separate_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., str], out: str, file: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("real")
    assert message in fails(2, "sample", "--bundle", "absent", "--out", out, "--codes", file)
    assert os.listdir(tmp_path) == ["link"]
