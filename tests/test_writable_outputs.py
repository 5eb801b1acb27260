"""Where an output cannot be written, its command says so before any work, and leaves nothing behind."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import run
from tiny_training import VQVAE

from latentloop.errors import OutputError
from latentloop.io.files import check_free, write_each

# A command, its output's name with PLACE for the folder that it goes to, and inputs that are not there: all of them
# would fail, had the work begun.
COMMANDS = {
    "sample": "sample --bundle absent --out PLACE/x.png",
    "sample to a folder": "sample --bundle absent --out PLACE/x/",
    "codes": "sample --bundle absent --out x.png --codes PLACE/x.npz",
    "encode": "encode absent --out PLACE/x.npz",
    "decode": "decode absent --out PLACE/x.png",
    "reconstruct": "reconstruct absent --out PLACE/x.png",
    "export": "export --vqvae absent.safetensors --out PLACE/x",
    "checkpoints": "export --vqvae absent.safetensors --out x --save-checkpoints PLACE/x",
    "planets": "data planets --out PLACE/x --train 1 --test 1 --processes 1",
    "train": f"train {VQVAE} --steps 1 --data absent --out PLACE/x.safetensors",
    "bench": "bench cold-start --out PLACE/x.json",
    "plots": "bench cold-start --plots PLACE/x",
    "picture": "bench samples --bundle absent --data absent --picture PLACE/x.png",
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("file", "Not a directory"),
        ("file/below", "Not a directory"),
        ("/proc", "No such file"),
        ("new/" + "y" * 300, "File name too long"),
    ],
)
def test_told_before_the_work(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fails: Callable[..., str],
    command: str,
    place: str,
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("no folder")
    if command == "plots":
        pytest.importorskip("matplotlib")
    message = fails(1, *COMMANDS[command].replace("PLACE", place).split())
    assert "cannot write " in message
    assert place in message
    assert reason in message
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ("plots", "planets")])
def test_a_directory_where_a_file_goes_and_a_file_where_a_directory_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., str], command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    words = COMMANDS[command].replace("PLACE", ".").split()
    if command == "checkpoints":
        (tmp_path / "x").write_text("a file")
    target = tmp_path / ("x/vqvae.safetensors" if command == "checkpoints" else words[-1])
    if command in ("export", "sample to a folder"):
        target.write_text("a file")
    elif command != "checkpoints":
        target.mkdir()
    message = fails(1, *words, *(["--force"] if command != "checkpoints" else []))
    assert "expected a" in message or "not a folder" in message or "exists" in message
    assert len(os.listdir(tmp_path)) == 1


def test_a_state_that_cannot_be_written_is_told_before_the_training(tmp_path: Path, fails: Callable[..., str]) -> None:
    out = tmp_path / ("x" * 240 + ".safetensors")  # its state's name is too long
    assert "File name too long" in fails(1, "train", *VQVAE.split(), "--steps", 1, "--data", "absent", "--out", out)


def test_parents_are_made_for_the_trial_and_removed_again(tmp_path: Path) -> None:
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


def test_a_failing_output_costs_no_other(tmp_path: Path) -> None:
    def fail() -> None:
        raise OSError(28, "No space left on device")

    done = []
    with pytest.raises(OutputError, match=r"No space left on device; a and c are written$"):
        write_each({"a": lambda: done.append("a"), "b": fail, "c": lambda: done.append("c")})
    assert done == ["a", "c"]
    with pytest.raises(OutputError, match=r"No space left on device$"):
        write_each({"a": fail})


@pytest.mark.parametrize("failing", ["images", "codes"])
def test_images_and_codes_do_not_cost_each_other(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., str], failing: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("PIL.Image.Image.save" if failing == "images" else "numpy.savez_compressed", full)
    names = {"images": "a.png", "codes": "a.npz"}
    arguments = ("--out", tmp_path / "a.png", "--codes", tmp_path / "a.npz")
    message = fails(1, "sample", "--bundle", small_bundle, "-n", 1, *arguments)
    lost = names.pop(failing)
    (kept,) = names.values()
    assert f"cannot write {tmp_path / lost}: No space left" in message
    assert f"{tmp_path / kept} is written; --seed " in message
    assert os.listdir(tmp_path) == [kept]


def test_figures_are_printed_where_their_file_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr("latentloop.bench.sampling.cold_start.measure", lambda *_: {"kind": "cold-start"})
    monkeypatch.setattr("latentloop.bench.sampling.cold_start.table", lambda _: "the figures")
    monkeypatch.setattr(Path, "write_text", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left")))
    printed: list[str] = []
    monkeypatch.setattr("builtins.print", lambda *text, **_: printed.extend(map(str, text)))
    assert run("bench", "cold-start", "--out", tmp_path / "x.json") == 1
    assert printed[0] == "the figures"
    assert "No space left" in printed[1]
