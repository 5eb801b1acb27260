"""A run into a folder on the simulated GPU: its journal has the GPU's model, and another model is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from bulk_folders import journal
from command_line import run
from gpu_machines import Machines


def command(bundle: Path, folder: Path, device: str, n: int, *options: object) -> tuple[object, ...]:
    sizes = ("--shard-size", 2, "--batch-size", 2, "--threads", 1, "--format", "npz")
    return "sample", bundle, "-n", n, "--seed", 7, "--device", device, *sizes, "--out", f"{folder}/", *options


def test_another_model_of_gpu_is_refused(
    small_engines: Path,
    machines: Machines,
    device: str,
    tmp_path: Path,
    fails: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, parts = tmp_path / "a", [tmp_path / "0", tmp_path / "1"]
    driver = machines()
    assert run(*command(small_engines, folder, device, 4)) == 0
    assert run(*command(small_engines, parts[0], device, 4, "--shard", "0/2")) == 0
    assert journal(folder)[0]["device"] == f"{device}:0"
    assert journal(folder)[0]["gpu"] == "Simulated GPU, 9.0"
    path = folder / "shard-00001.npz"
    content = path.read_bytes()
    path.unlink()
    driver.model_name = "Another GPU"
    capsys.readouterr()
    assert run(*command(small_engines, folder, device, 4)) == 2
    message = "gpu was 'Simulated GPU, 9.0', this command has 'Another GPU, 9.0': use a GPU of the journal's model"
    assert message in capsys.readouterr().err
    assert run(*command(small_engines, parts[1], device, 4, "--shard", "1/2")) == 0
    capsys.readouterr()
    message = fails(2, "merge", *parts, "--out", f"{tmp_path / 'merged'}/")
    assert "are parts of different runs: gpu is 'Simulated GPU, 9.0' and 'Another GPU, 9.0'" in message
    driver.model_name = "Simulated GPU"
    assert run(*command(small_engines, folder, device, 4)) == 0
    assert path.read_bytes() == content


def test_a_run_on_the_cpu_has_no_gpu(small_bundle: Path, tmp_path: Path) -> None:
    assert run(*command(small_bundle, tmp_path / "a", "cpu", 2)) == 0
    assert journal(tmp_path / "a")[0]["gpu"] is None
