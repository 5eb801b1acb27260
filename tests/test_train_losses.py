"""When a training diverges: it ends with an error, and does not replace its last state."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from latentloop.errors import InputError
from latentloop.export.configuration import VqvaeConfig
from latentloop.export.models.vqvae import Vqvae
from latentloop.export.train.run import training_loop
from latentloop.export.train.run.losses import LOSS_INTERVAL, PATIENCE, Losses
from latentloop.export.train.run.saving import save_trained
from latentloop.export.train.run.training_loop import LoopOptions, run_training


class Scripted:
    """A training whose loss is a function of the step; its state is the number of the last step."""

    def __init__(self, loss: Callable[[int], float]) -> None:
        self.loss, self.done = loss, 0

    def step(self, step: int) -> torch.Tensor:
        self.done = step + 1
        return torch.tensor(self.loss(step))

    def state(self) -> dict[str, Any]:
        return {"done": self.done}

    def restore(self, state: dict[str, Any]) -> None:
        self.done = state["done"]


def _options(folder: Path, steps: int, **options: Any) -> LoopOptions:
    return LoopOptions(folder / "x.safetensors", steps, progress=False, arguments={"rate": 0.5}, **options)


def test_a_loss_that_grows_ends_the_training_and_the_state_from_before_remains(tmp_path: Path) -> None:
    task = Scripted(lambda step: 1.0 if step < 40 else 0.1 if step < 100 else 30.0)
    message = r"the loss is 30 near step 220, after 0\.1: .* a lower --lr \(now 0\.5\) and --restart$"
    with pytest.raises(InputError, match=message):
        run_training(task, _options(tmp_path, 300, save_every=50))
    assert task.done == 100 + LOSS_INTERVAL + PATIENCE
    assert torch.load(tmp_path / "x.safetensors.state", weights_only=True)["step"] == 100


@pytest.mark.parametrize("last", [0.9, 60.0])
def test_a_loss_may_rise_for_some_steps_but_not_at_the_end(last: float, tmp_path: Path) -> None:
    """As when a VQ-VAE's quantisation starts: under the first loss for long, or far above it for a short time."""
    task = Scripted(lambda step: 1.0 if step < 20 else 0.01 if step < 100 else 50.0 if step < 180 else last)
    if last > 1:
        with pytest.raises(InputError, match=r"near step 200, after 0\.01: the training diverges"):
            run_training(task, _options(tmp_path, 200))
    else:
        run_training(task, _options(tmp_path, 600))
        assert task.done == 600


def test_a_state_is_not_saved_after_a_loss_that_is_not_finite(tmp_path: Path) -> None:
    task = Scripted(lambda step: 1.0 if step < 7 else float("inf"))
    with pytest.raises(InputError, match="the loss is nan near step 9: the training diverges"):
        run_training(task, _options(tmp_path, 300, save_every=3))
    assert torch.load(tmp_path / "x.safetensors.state", weights_only=True)["step"] == 6


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    model = Vqvae(VqvaeConfig(channels=4, residual_channels=2, code_channels=2, codebook_size=4))
    model.codebook(0).embedding[1, 1] = float("nan")
    loop = _options(tmp_path, 5)
    with pytest.raises(InputError, match=r"embedding is not finite after step 5: the training diverged; start again"):
        save_trained(loop, model, {}, force=False)
    assert not loop.out.exists()


def test_the_mean_is_over_the_steps_since_the_last_reading() -> None:
    losses = Losses(str)
    for values, mean in (((1.0, 3.0), 2.0), ((5.0,), 5.0)):
        for value in values:
            losses.add(torch.tensor(value))
        losses.read(1)
        assert losses.mean == mean


@pytest.mark.parametrize(("interval", "lines"), [(0.0, ["1", "2", "3"]), (3600.0, ["3"])])
def test_without_a_bar_progress_is_printed_from_time_to_time(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    interval: float,
    lines: list[str],
) -> None:
    for name in ("FIRST_LINE", "LINE_INTERVAL"):
        monkeypatch.setattr(training_loop, name, interval)
    run_training(Scripted(lambda step: 0.5), replace(_options(tmp_path, 3), progress=True))
    printed = capsys.readouterr().err
    assert re.findall(r"x\.safetensors: step (\d) of 3, (?:loss 0\.5000, )?\d\d:\d\d left", printed) == lines
    assert "step 3 of 3, loss 0.5000, 00:00 left" in printed
