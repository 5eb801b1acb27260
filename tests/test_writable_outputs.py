"""If an output cannot be written, the command fails before any work, and leaves nothing behind."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import run
from tiny_training import VQVAE

from latentloop.errors import OutputError
from latentloop.io.files import check_free, write_each

# Commands with FOLDER for the folder of the output, and missing inputs, which would be an error if the work began.
COMMANDS = {
    "sample": "sample --bundle absent --out FOLDER/x.png",
    "sample to a folder": "sample --bundle absent --out FOLDER/x/",
    "codes": "sample --bundle absent --out x.png --codes FOLDER/x.npz",
    "encode": "encode absent --out FOLDER/x.npz",
    "decode": "decode absent --out FOLDER/x.png",
    "reconstruct": "reconstruct absent --out FOLDER/x.png",
    "export": "export --vqvae absent.safetensors --out FOLDER/x",
    "checkpoints": "export --vqvae absent.safetensors --out x --save-checkpoints FOLDER/x",
    "planets": "data planets --out FOLDER/x --train 1 --test 1 --processes 1",
    "train": f"train {VQVAE} --steps 1 --data absent --out FOLDER/x.safetensors",
    "bench": "bench cold-start --out FOLDER/x.json",
    "plots": "bench cold-start --plots FOLDER/x",
    "picture": "bench samples --bundle absent --data absent --picture FOLDER/x.png",
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("file", "Not a directory"),
        ("file/below", "Not a directory"),
        ("/proc", "No such file"),
        ("new/" + "y" * 300, "File name too long"),
    ],
)
def test_an_output_that_cannot_be_written_is_an_error_before_the_work(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fails: Callable[..., str],
    command: str,
    folder: str,
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("no folder")
    if command == "plots":
        pytest.importorskip("matplotlib")
    message = fails(1, *COMMANDS[command].replace("FOLDER", folder).split())
    assert "cannot write " in message
    assert folder in message
    assert reason in message
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ("plots", "planets")])
def test_a_directory_in_place_of_a_file_and_a_file_in_place_of_a_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., str], command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = COMMANDS[command].replace("FOLDER", ".").split()
    if command == "checkpoints":
        (tmp_path / "x").write_text("a file")
    target = tmp_path / ("x/vqvae.safetensors" if command == "checkpoints" else arguments[-1])
    if command in ("export", "sample to a folder"):
        target.write_text("a file")
    elif command != "checkpoints":
        target.mkdir()
    message = fails(1, *arguments, *(["--force"] if command != "checkpoints" else []))
    assert "expected a" in message or "not a folder" in message or "exists" in message
    assert len(os.listdir(tmp_path)) == 1


def test_a_training_state_that_cannot_be_written_is_an_error_before_the_training(
    tmp_path: Path, fails: Callable[..., str]
) -> None:
    out = tmp_path / ("x" * 240 + ".safetensors")  # the name of its state file is too long
    assert "File name too long" in fails(1, "train", *VQVAE.split(), "--steps", 1, "--data", "absent", "--out", out)


def test_check_free_removes_the_parents_that_it_creates(tmp_path: Path) -> None:
    check_free(tmp_path / "a" / "b" / "c.png", force=False)
    assert not os.listdir(tmp_path)
    (tmp_path / "a").mkdir()
    check_free(tmp_path / "a" / "b" / "c.png", force=False)
    assert os.listdir(tmp_path) == ["a"]


def test_a_device_is_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for directory in (False, True):
        for force in (False, True):
            with pytest.raises(OutputError, match=r"pipe\.png is a device, a pipe or a socket"):
                check_free(tmp_path / "pipe.png", force=force, directory=directory)


def test_one_failed_output_does_not_prevent_the_others(tmp_path: Path) -> None:
    def fail() -> None:
        raise OSError(28, "No space left on device")

    done = []
    with pytest.raises(OutputError, match=r"No space left on device; a and c are written$"):
        write_each({"a": lambda: done.append("a"), "b": fail, "c": lambda: done.append("c")})
    assert done == ["a", "c"]
    with pytest.raises(OutputError, match=r"No space left on device$"):
        write_each({"a": fail})


@pytest.mark.parametrize("failing", ["images", "codes"])
def test_images_are_written_if_codes_fail_and_the_reverse(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., str], failing: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("PIL.Image.Image.save" if failing == "images" else "numpy.savez_compressed", full)
    names = {"images": "a.png", "codes": "a.npz"}
    arguments = ("--out", tmp_path / "a.png", "--codes", tmp_path / "a.npz")
    message = fails(1, "sample", "--bundle", small_bundle, "-n", 1, *arguments)
    failed = names.pop(failing)
    (written,) = names.values()
    assert f"cannot write {tmp_path / failed}: No space left" in message
    assert f"{tmp_path / written} is written; --seed " in message
    assert os.listdir(tmp_path) == [written]


def test_figures_are_printed_even_if_their_file_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr("latentloop.bench.sampling.cold_start.measure", lambda *_: {"kind": "cold-start"})
    monkeypatch.setattr("latentloop.bench.sampling.cold_start.table", lambda _: "the figures")
    monkeypatch.setattr(Path, "write_text", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left")))
    printed: list[str] = []
    monkeypatch.setattr("builtins.print", lambda *text, **_: printed.extend(map(str, text)))
    assert run("bench", "cold-start", "--out", tmp_path / "x.json") == 1
    assert printed[0] == "the figures"
    assert "No space left" in printed[1]
