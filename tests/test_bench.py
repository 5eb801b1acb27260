"""The bench on a model small enough to check: its extrapolation against every position timed for real."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from random_models import PRIORS, SMALL, random_prior

from latentloop.bench import sampling
from latentloop.bench.naive import time_naive
from latentloop.cli import main
from latentloop.export.configuration import PriorConfig, VqvaeConfig
from latentloop.export.models.presets import PRESETS, Preset


def test_first_rows_alone_give_the_same_logits() -> None:
    """What the naive peer times is right: rows below change nothing."""
    for name in ("top-k5", "bottom-k5"):
        config = PRIORS[name]
        model = random_prior(config)
        codes = torch.randint(0, config.codebook_size, (1, config.height, config.width))
        upper = (
            torch.randint(0, config.condition_codes, (1, *config.condition_grid)) if config.condition_codes else None
        )
        with torch.no_grad():
            whole = model(codes, upper)
            for rows in (1, 3):
                torch.testing.assert_close(model(codes[:, :rows], upper), whole[:, :, :rows])


def test_the_fit_covers_every_position(monkeypatch: pytest.MonkeyPatch) -> None:
    """With forwards that take 1 + 2 rows seconds, a level takes W * sum of (1 + 2 i)."""
    config = PRIORS["top-k3"]
    now = [0.0]
    model = random_prior(config)

    def forward(codes: torch.Tensor, *_: object) -> None:
        now[0] += 1 + 2 * codes.shape[1]

    monkeypatch.setattr(model, "given", forward)
    monkeypatch.setattr("latentloop.bench.naive.time.perf_counter", lambda: now[0])
    found = time_naive(model)
    assert found.level == pytest.approx(config.width * sum(1 + 2 * i for i in range(1, config.height + 1)))


def test_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = Preset(
        VqvaeConfig(channels=8, residual_channels=4, code_channels=4, codebook_size=11),
        (
            PriorConfig(4, 4, kernel=3, **SMALL),
            PriorConfig(8, 8, kernel=3, attention=False, condition_codes=11, condition_channels=4, **SMALL),
        ),
    )
    monkeypatch.setitem(PRESETS, "small", small)
    out = tmp_path / "result.json"
    assert main(["bench", "--preset", "small", "--threads", "1", "--repeats", "2", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    result = json.loads(out.read_text(encoding="utf-8"))
    assert result["ratio"] == pytest.approx(
        result["naive_seconds_extrapolated"] / sorted(result["latentloop_seconds"])[0], rel=0.6
    )
    assert len(result["latentloop_seconds"]) == 2
    assert "timed forwards)" in text
    assert sampling.table(result) in text
    assert main(["bench", "--preset", "none"]) == 2
    assert "rosinality-256" in capsys.readouterr().err
