"""A run that is killed at any point goes on with the same command, and ends with the files of an unbroken run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
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
    child = Path(__file__).with_name("killed_runs.py")
    arguments = [count, FACTOR, folder, *command, "--out", f"{folder}/", *options]
    done = subprocess.run(
        [sys.executable, str(child), *map(str, arguments)], capture_output=True, text=True, timeout=600, check=True
    )
    assert not [line for line in done.stderr.splitlines() if "goes on after" not in line], done.stderr
    unbroken, *runs = map(json.loads, done.stdout.splitlines())
    assert unbroken["status"] == 0
    assert len(unbroken["files"]) == {"png": N, "npz": 2 * 3, "tar": 3}[format] + 1
    assert len(runs) == min(count, unbroken["changes"])
    for run in runs:
        assert (run["status"], run["again"]) == (-signal.SIGKILL, 0), run
        assert run["files"] == unbroken["files"], run["point"]  # the journal, too


@pytest.mark.parametrize("format", OPTIONS)
def test_a_killed_run_goes_on(small_bundle: Path, tmp_path: Path, format: str) -> None:
    check(tmp_path, small_bundle, format, 4)


@pytest.mark.slow
@pytest.mark.parametrize("format", OPTIONS)
def test_a_run_killed_at_many_points_goes_on(small_bundle: Path, tmp_path: Path, format: str) -> None:
    check(tmp_path, small_bundle, format, 20 * FACTOR)
