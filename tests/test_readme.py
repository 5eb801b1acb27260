"""The README's Python code runs, its results have the documented shapes, and its commands exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from common_layout_files import PRIORS, random_prior, random_vqvae, save
from documented_python import blocks, run_documented
from PIL import Image

from latentloop.cli.program import main

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.parametrize("code", blocks(README, "python"), ids=["sampling", "nearest codeword"])
def test_the_python_runs(code: str) -> None:
    assert run_documented(code, {}) > 0


def shell_blocks() -> list[str]:
    """Returns the blocks of commands, with continued lines joined."""
    return [block.replace("\\\n", "") for block in blocks(README, "sh")]


def test_the_commands_exist(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line.split("&&")[-1].strip() for block in shell_blocks() for line in block.splitlines()]
    inline = re.findall(r"`(latentloop [^`]+)`", README.read_text(encoding="utf-8"))
    commands = {shlex.split(line, comments=True)[1] for line in [*lines, *inline] if line.startswith("latentloop")}
    assert {"sample", "export", "verify"} <= commands
    for command in commands:
        assert main([command, "--help"]) == 0
        assert f"latentloop {command}" in capsys.readouterr().out


# ---- The commands, in their order, as a new user runs them.

ELSEWHERE = ("git", "cd", "python3", ".", "pip", "pytest")  # commands of other programs
SMALL_TRAINING = {  # still smaller than the README's
    "vqvae": "--channels 8 --residual-channels 4 --code-channels 4 --codebook-size 16 --steps 3 --batch 4",
    "prior": "--channels 16 --residual-channels 8 --blocks 1 --residual-blocks 1 --steps 2 --batch 4",
}


def commands() -> Iterator[list[str]]:
    """Yields LatentLoop's commands of all blocks, except those that need a GPU or TensorRT."""
    for block in shell_blocks():
        for command in re.split(r"&&|\n", re.sub(r"\s#.*", "", block)):
            words = shlex.split(command)
            if not words or words[0] in ELSEWHERE or "build-engines" in words or "tensorrt" in words:
                continue
            assert words[0] == "latentloop", command
            yield words[1:]


def write_inputs() -> None:
    """Writes the files that the README's commands expect: a user's checkpoints and pictures."""
    top = replace(PRIORS["top-k3"], height=4, width=4, codes=9)
    bottom = replace(PRIORS["bottom-k3"], height=8, width=8, codes=9, upper_codes=9)
    for name, state in (("vqvae", random_vqvae()), ("top", random_prior(top)), ("bottom", random_prior(bottom))):
        save(Path(f"{name}.pt"), state)
    rng = np.random.default_rng(0)
    for folder in ("pictures/cats", "pictures/dogs"):
        Path(folder).mkdir(parents=True)
        for index in range(12):
            Image.fromarray(rng.integers(0, 256, (70, 80, 3), np.uint8)).save(f"{folder}/{index}.png")


@pytest.mark.slow
def test_the_commands_work_in_their_order_and_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_inputs()
    outputs = [words[words.index("--out") + 1] for words in commands() if "--out" in words]
    assert len(outputs) == len(set(outputs)) > 5  # no command replaces what another one wrote
    for repeated in (False, True):
        for words in commands():
            if repeated and words[0] == "data":  # has no --force
                continue
            trained = SMALL_TRAINING[words[1]].split() if words[0] == "train" else []
            forced = ["--force"] if repeated and "--out" in words else []
            assert main([*words, *trained, *forced]) == 0, words
    for output in outputs:
        assert Path(output).exists(), output
    for picture in ("completed.jpg", "varied.jpg"):  # those that the README shows are what its commands write
        shown = np.asarray(Image.open(README.parent / "docs" / picture), np.float64)
        written = np.asarray(Image.open(picture), np.float64)
        assert shown.shape == written.shape
        # Not equal: on another processor a draw can give another code. The first two columns have no draws.
        assert np.abs(shown - written)[:, :130].mean() < 2
    with Image.open(README.parent / "docs" / "drawn.webp") as shown_frames, Image.open("drawn.webp") as written_frames:
        assert shown_frames.n_frames == written_frames.n_frames == 8 + 16  # type: ignore[attr-defined]
        assert shown_frames.size == written_frames.size
        # Where nothing is drawn yet there are no draws: the first frame's lower half.
        lower = [np.asarray(image.convert("RGB"), np.float64)[-64:] for image in (shown_frames, written_frames)]
        assert np.abs(lower[0] - lower[1]).mean() < 2
