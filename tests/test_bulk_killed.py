"""A run that is killed at any point goes on with the same command, and ends with the files of an unbroken run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import run
from example_counts import FACTOR

N, SHARD, BATCH = 9, 4, 2
OPTIONS = {
    "png": ("--format", "png"),
    "npz": ("--format", "npz", "--codes", "FOLDER"),
    "tar": ("--format", "tar", "--best", "0.5"),
}


def check(tmp_path: Path, bundle: Path, format: str, count: int) -> None:
    folder = tmp_path / "made" / "samples"
    options = [folder if option == "FOLDER" else option for option in OPTIONS[format]]
    command = ("sample", bundle, "-n", N, "--seed", 7, "--shard-size", SHARD, "--batch-size", BATCH, "--threads", 1)
    files = {"png": N, "npz": 2 * 3, "tar": 3}[format] + 1
    check_command(folder, (*command, "--out", f"{folder}/", *options), files, count)


def check_command(folder: Path, command: tuple[object, ...], files: int, count: int) -> None:
    """Kills a command at ``count`` points; unbroken, it writes ``files`` into the folder."""
    child = Path(__file__).with_name("killed_runs.py")
    arguments = [count, FACTOR, folder, *command]
    done = subprocess.run(
        [sys.executable, str(child), *map(str, arguments)], capture_output=True, text=True, timeout=600, check=True
    )
    assert not [line for line in done.stderr.splitlines() if "goes on after" not in line], done.stderr
    unbroken, *runs = map(json.loads, done.stdout.splitlines())
    assert unbroken["status"] == 0
    assert len(unbroken["files"]) == files
    assert len(runs) == min(count, unbroken["changes"])
    for killed in runs:
        assert (killed["status"], killed["again"]) == (-signal.SIGKILL, 0), killed
        assert killed["files"] == unbroken["files"], killed["point"]  # the journal, too


@pytest.mark.parametrize("format", OPTIONS)
def test_a_killed_run_goes_on(small_bundle: Path, tmp_path: Path, format: str) -> None:
    check(tmp_path, small_bundle, format, 4)


@pytest.mark.parametrize("command", ["encode", "decode", "reconstruct"])
def test_other_commands_that_are_killed_go_on(small_bundle: Path, photos: Path, tmp_path: Path, command: str) -> None:
    folder, codes = tmp_path / "made" / "out", tmp_path / "codes.npz"
    inputs: object = photos
    if command == "decode":
        assert run("encode", photos, "--bundle", small_bundle, "--out", codes) == 0
        inputs = codes
    options = ("--bundle", small_bundle, "--shard-size", 2, "--threads", 1, "--out", f"{folder}/")
    files = {"encode": 2, "decode": 3, "reconstruct": 3 + 2}[command] + 1
    check_command(folder, (command, inputs, *options), files, 4)


@pytest.mark.slow
@pytest.mark.parametrize("format", OPTIONS)
def test_a_run_killed_at_many_points_goes_on(small_bundle: Path, tmp_path: Path, format: str) -> None:
    check(tmp_path, small_bundle, format, 20 * FACTOR)
