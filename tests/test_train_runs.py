"""Whole training runs: interruption and resumption, state files, options, checkpoints and their provenance."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_training import PRIOR, VQVAE, parse, write_blobs

from latentloop.errors import CheckpointError, InputError, OutputError
from latentloop.export.checkpoints.checkpoint import load_checkpoint
from latentloop.export.checkpoints.codes_digest import codes_digest
from latentloop.export.commands import train
from latentloop.export.configuration import PriorConfig, VqvaeConfig
from latentloop.export.models.pixelsnail import PixelSnail
from latentloop.export.train import prior, vqvae
from latentloop.export.train.run.training_loop import LoopOptions, run_training


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    """Threads do not speed up tiny models, and slow them down on a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 images in two classes."""
    return write_blobs(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VQ-VAE after a few steps."""
    path = tmp_path_factory.mktemp("trained") / "vqvae.safetensors"
    assert train.run(parse(f"{VQVAE} --steps 12", data=folder, out=path)) == 0
    return path


@pytest.fixture(scope="module")
def state(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state file of a VQ-VAE's training of two steps that was interrupted before it wrote its checkpoint."""
    path = tmp_path_factory.mktemp("state") / "vqvae.safetensors"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(vqvae, "reconstruction_metrics", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            _train(f"{VQVAE} --steps 2", data=folder, out=path)
    return Path(f"{path}.state")


def _train(command: str, **paths: object) -> dict[str, Any]:
    arguments = parse(command, **paths)
    return {"vqvae": vqvae.train_vqvae, "prior": prior.train_prior}[arguments.network](arguments)


def _commands(folder: Path, trained: Path) -> dict[str, tuple[str, dict[str, Path]]]:
    return {
        "vqvae": (f"{VQVAE} --steps 9 --flip", {"data": folder}),
        "top": (f"{PRIOR} --steps 9 --level top", {"data": folder, "vqvae": trained}),
        "bottom": (
            f"{PRIOR} --steps 9 --level bottom --flip --precision bfloat16",
            {"data": folder, "vqvae": trained},
        ),
    }


@pytest.mark.parametrize("name", ["vqvae", "top", "bottom"])
def test_a_resumed_run_is_bit_identical(
    name: str, folder: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, paths = _commands(folder, trained)[name]
    figures = _train(command, out=tmp_path / "whole.safetensors", **paths)
    kind = vqvae.VqvaeTask if name == "vqvae" else prior.PriorTask
    original = kind.step

    def stop_at(self: Any, step: int) -> torch.Tensor:
        if step == 5:
            raise KeyboardInterrupt
        return original(self, step)

    resumed = tmp_path / "resumed.safetensors"
    monkeypatch.setattr(kind, "step", stop_at)
    with pytest.raises(KeyboardInterrupt):
        _train(f"{command} --save-every 2", out=resumed, **paths)
    assert not resumed.exists()
    monkeypatch.setattr(kind, "step", original)
    torch.manual_seed(99)  # the result must not depend on the global generator
    assert _train(f"{command} --save-every 2", out=resumed, **paths) == figures
    assert [path.name for path in tmp_path.iterdir() if "state" in path.name] == []
    first, second = (load_checkpoint(tmp_path / f"{part}.safetensors") for part in ("whole", "resumed"))
    assert first.weights.keys() == second.weights.keys()
    for key, value in first.weights.items():
        np.testing.assert_array_equal(value, second.weights[key], err_msg=key)
    assert first.provenance == second.provenance


@pytest.mark.slow
def test_a_killed_training_can_be_continued(folder: Path, tmp_path: Path) -> None:
    script = (
        "import argparse; from latentloop.export.commands import train; p = argparse.ArgumentParser();"
        "train.add_arguments(p); train.run(p.parse_args())"
    )
    command = f"{VQVAE} --steps 150 --save-every 5"
    paths = {"data": folder, "out": tmp_path / "killed.safetensors"}
    options = [*command.split(), "--data", str(folder), "--out", str(paths["out"])]
    process = subprocess.Popen([sys.executable, "-c", script, *options], stderr=subprocess.DEVNULL)
    state = Path(f"{paths['out']}.state")
    deadline = time.monotonic() + 60
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert 5 <= torch.load(state, weights_only=True)["step"] < 150
    assert _train(command, **paths) == _train(command, data=folder, out=tmp_path / "whole.safetensors")
    first, second = (load_checkpoint(tmp_path / f"{name}.safetensors").weights for name in ("killed", "whole"))
    for key, value in first.items():
        np.testing.assert_array_equal(value, second[key], err_msg=key)


def test_a_state_of_other_arguments_is_not_used(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "vqvae.safetensors"
    with monkeypatch.context() as patched:
        patched.setattr(vqvae, "reconstruction_metrics", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            _train(f"{VQVAE} --steps 4", data=folder, out=out)
    with pytest.raises(InputError, match=r"seed was 0, is 1; steps was 4, is 5\. Pass the same .* --restart"):
        _train(f"{VQVAE} --steps 5 --seed 1", data=folder, out=out)
    _train(f"{VQVAE} --steps 5 --seed 1 --restart", data=folder, out=out)
    with pytest.raises(OutputError, match="--force"):
        _train(f"{VQVAE} --steps 5", data=folder, out=out)
    _train(f"{VQVAE} --steps 5 --force", data=folder, out=out)
    Path(f"{out}.state").write_bytes(b"not a state")
    with pytest.raises(CheckpointError, match=r"vqvae\.safetensors\.state: .*--restart"):
        _train(f"{VQVAE} --steps 5", data=folder, out=out)


def _set(value: object, *keys: Any) -> Callable[[Any], None]:
    """A function that sets the field of a state at the path ``keys``, or deletes it if ``value`` is None."""

    def change(state: Any) -> None:
        for key in keys[:-1]:
            state = state[key]
        if value is None:
            del state[keys[-1]]
        else:
            state[keys[-1]] = value

    return change


def _more_columns(state: Any) -> None:
    weights = state["task"]["model"]
    name = next(name for name, value in weights.items() if value.ndim > 1)
    weights[name] = torch.cat([weights[name], weights[name]])


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (_set(None, "arguments"), "KeyError: 'arguments'"),
        (_set("{", "arguments"), "JSONDecodeError"),
        (_set(7, "arguments"), "TypeError"),
        (_set("x", "step"), "ValueError"),
        (_set(-1, "step"), "step is -1, expected 1 to 2"),
        (_set(3, "step"), "step is 3, expected 1 to 2"),
        (_set("x", "task"), "TypeError"),
        (_set(None, "task", "averages"), "KeyError: 'averages'"),
        (_set([], "task", "averages"), "ValueError"),
        (_set(torch.zeros(1), "task", "averages", 0), r"a tensor is \[1\], expected"),
        (_set(torch.zeros(1), "task", "codebooks", 0, "sums"), r"a tensor is \[1\], expected"),
        (
            _set(torch.zeros(1), "task", "optimiser", "state", 0, "exp_avg"),
            r"exp_avg of the optimiser is \[1\], expected",
        ),
        (_more_columns, "size mismatch"),
    ],
)
def test_a_state_that_does_not_fit(
    change: Callable[[Any], None], cause: str, folder: Path, state: Path, tmp_path: Path
) -> None:
    damaged = torch.load(state, weights_only=True)
    change(damaged)
    torch.save(damaged, tmp_path / state.name)
    with pytest.raises(CheckpointError, match=f"does not fit this training .*{cause}.*; pass --restart") as caught:
        _train(f"{VQVAE} --steps 2", data=folder, out=tmp_path / state.stem)
    assert "\n" not in str(caught.value)


def test_the_provenance_of_checkpoints(folder: Path, trained: Path, tmp_path: Path) -> None:
    source = load_checkpoint(trained)
    assert isinstance(source.config, VqvaeConfig)
    assert source.provenance["licence"] == "CC0-1.0"
    assert source.provenance["training_images"] == 23
    assert source.provenance["training"]["steps"] == 12
    assert source.provenance["held_out"]["mean_squared_error"] > 0
    out = tmp_path / "bottom.safetensors"
    _train(f"{PRIOR} --steps 4 --level bottom --class-names cat,dog", data=folder, vqvae=trained, out=out)
    checkpoint = load_checkpoint(out)
    config = checkpoint.config
    assert isinstance(config, PriorConfig)
    assert (config.height, config.condition_codes, config.classes, config.attention) == (4, 8, 2, False)
    assert checkpoint.provenance["classes"] == ["cat", "dog"]
    model = PixelSnail(config)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in checkpoint.weights.items()})
    assert checkpoint.provenance["codes_sha256"] == codes_digest(source.config, source.weights)
    assert checkpoint.provenance["training"]["precision"] == "float32"
    masked = checkpoint.weights["blocks.0.residual.0.conv1.weight"][:, :, -1, 1:]
    assert not masked.any()
    assert all(value.dtype == np.float32 for value in checkpoint.weights.values())


def test_invalid_inputs_of_a_prior(folder: Path, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "prior.safetensors"
    with pytest.raises(InputError, match="level is 'middle', expected one of top, bottom"):
        _train(f"{PRIOR} --steps 2 --level middle", data=folder, vqvae=trained, out=out)
    _train(f"{PRIOR} --steps 2 --level top --no-classes", data=folder, vqvae=trained, out=out)
    with pytest.raises(CheckpointError, match="holds a prior, expected a VQ-VAE"):
        _train(f"{PRIOR} --steps 2 --level top", data=folder, vqvae=out, out=tmp_path / "other.safetensors")


def test_a_diverging_loss_ends_the_training(tmp_path: Path) -> None:
    class Diverging:
        def step(self, step: int) -> torch.Tensor:
            return torch.tensor(float("nan"))

        def state(self) -> dict[str, Any]:
            return {}

        def restore(self, state: dict[str, Any]) -> None:
            raise AssertionError

    with pytest.raises(InputError, match=r"loss is nan near step 20: the training diverges; .* a lower --lr$"):
        run_training(Diverging(), LoopOptions(tmp_path / "x.safetensors", 30, progress=False))


def test_a_full_disk_is_reported_and_the_last_state_remains(tmp_path: Path) -> None:
    """torch.save reports a full disk as RuntimeError. A limit on file sizes simulates the full disk."""

    class Growing:
        size = 1

        def step(self, step: int) -> torch.Tensor:
            self.size = 10 ** (3 * step)
            return torch.zeros(())

        def state(self) -> dict[str, Any]:
            return {"x": torch.zeros(self.size)}

        def restore(self, state: dict[str, Any]) -> None:
            raise AssertionError

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, before[1]))
    try:
        with pytest.raises(OutputError, match=r"cannot write .*x\.safetensors\.state: .*is the disk full"):
            run_training(Growing(), LoopOptions(tmp_path / "x.safetensors", 9, save_every=1, progress=False))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors.state"]
    assert torch.load(tmp_path / "x.safetensors.state", weights_only=True)["step"] == 2


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("--lr -1", "lr is -1.0, expected over 0"),
        ("--lr nan", "lr is nan"),
        ("--warm-up -1", "warm-up is -1, expected at least 0"),
        ("--clip 0", "clip is 0.0, expected over 0"),
        ("--average 1", "average is 1.0, expected over 0, under 1"),
        ("--weight-decay -1", "weight-decay is -1.0, expected at least 0"),
        ("--seed -1", "seed is -1, expected 0 to 9223372036854775807"),
        ("--seed 9223372036854775808", "seed is 9223372036854775808, expected 0 to"),
        ("--split-seed 999999999999999999999999", "split-seed is 999999999999999999999999, expected 0 to"),
        ("--threads 0", "threads is 0, expected 1 to 1024"),
        ("--threads 99999999999", "threads is 99999999999, expected 1 to 1024"),
        ("--out top.pt", r"top\.pt, expected a name that ends in \.safetensors"),
    ],
)
def test_invalid_options(option: str, expected: str, tmp_path: Path) -> None:
    paths = {"data": tmp_path, "vqvae": tmp_path / "absent", **({} if "--out" in option else {"out": "a.safetensors"})}
    with pytest.raises(InputError, match=expected):
        _train(f"{PRIOR} --level top {option}", **paths)


def test_an_existing_output_is_an_error_before_the_data_are_read(tmp_path: Path) -> None:
    out = tmp_path / "a.safetensors"
    out.touch()
    with pytest.raises(OutputError, match="--force"):
        _train(f"{VQVAE} --steps 2", data=tmp_path / "absent", out=out)


def test_the_command_prints_metrics(
    folder: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = parse(f"{PRIOR} --steps 2 --level top", data=folder, vqvae=trained, out=tmp_path / "a.safetensors")
    train.run(arguments)
    assert json.loads(capsys.readouterr().out)["bits_per_code"] > 0


def test_adding_arguments_does_not_import_torch() -> None:
    script = (
        "import argparse, sys; from latentloop.export.commands import train;"
        "train.add_arguments(argparse.ArgumentParser()); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_prior_starts_with_the_weights_of_another(folder: Path, trained: Path, tmp_path: Path) -> None:
    paths: dict[str, Any] = {"data": folder, "vqvae": trained}
    first = tmp_path / "first.safetensors"
    figures = _train(f"{PRIOR} --steps 30 --level top", out=first, **paths)
    command = f"{PRIOR} --steps 1 --warm-up 0 --lr 1e-9 --level top --from {first}"
    second = tmp_path / "second.safetensors"
    assert _train(command, out=second, **paths)["bits_per_code"] == pytest.approx(figures["bits_per_code"], rel=1e-4)
    one, two = (load_checkpoint(path) for path in (first, second))
    for name, value in one.weights.items():
        np.testing.assert_allclose(value, two.weights[name], atol=1e-6, err_msg=name)
    assert len(two.provenance["training"]["from"]) == 64
    other = PRIOR.replace("--channels 16", "--channels 32")
    with pytest.raises(InputError, match="a prior with another configuration: channels is 16, expected 32"):
        _train(f"{other} --steps 1 --level top --from {first}", out=tmp_path / "third.safetensors", **paths)
    with pytest.raises(InputError, match="contains a vqvae with another configuration"):
        _train(f"{PRIOR} --steps 1 --level top --from {trained}", out=tmp_path / "third.safetensors", **paths)


def test_options_without_effect_are_reported(
    folder: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = "--level bottom --no-classes --no-attention --class-names x,y --steps 1"
    _train(f"{PRIOR} {options}", data=folder, vqvae=trained, out=tmp_path / "bottom.safetensors")
    lines = [line for line in capsys.readouterr().err.splitlines() if "has no effect" in line]
    assert [line.split()[1] for line in lines] == ["--heads", "--class-channels", "--class-names"]
    _train(f"{PRIOR} --level top --steps 1", data=folder, vqvae=trained, out=tmp_path / "top.safetensors")
    lines = [line for line in capsys.readouterr().err.splitlines() if "has no effect" in line]
    assert [line.split()[1] for line in lines] == ["--condition-blocks"]
