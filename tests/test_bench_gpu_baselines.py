"""The bench's peers on a GPU, with tiny models on the CPU."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bench_results import TINY
from random_models import PRIORS, plain_weights, random_prior

from latentloop.bench.baselines import naive_forward
from latentloop.bench.gpu import clock as gpu_clock
from latentloop.bench.gpu.bound import Rates, floor, measure_rates
from latentloop.bench.gpu.check import baselines as gpu_sampling_peers
from latentloop.bench.gpu.check.baselines import COMPILED, EAGER, NAIVE
from latentloop.bench.gpu.check.part import Finding, Findings
from latentloop.bench.gpu.weights import random_weights
from latentloop.export.checkpoints.checkpoint import Weights
from latentloop.export.configuration import PriorConfig
from latentloop.export.models.presets import PRESETS
from latentloop.export.specification.rowstep_weights import RowStepWeights, arrange


def shapes(value: Any) -> Any:
    """The structure, with shapes in place of arrays and tensors."""
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return tuple(value.shape)
    if isinstance(value, tuple):
        return tuple(map(shapes, value))
    if is_dataclass(value):
        return {field.name: shapes(getattr(value, field.name)) for field in fields(value)}
    return value


@pytest.mark.parametrize("name", PRIORS)
def test_random_weights_are_arranged_as_a_checkpoints(name: str) -> None:
    config = PRIORS[name]
    found = random_weights(config, "cpu", torch.float16)
    assert shapes(found) == shapes(arrange(config, plain_weights(random_prior(config)), np.float32))
    assert found.logits.dtype == torch.float16


def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *ways: str, types: tuple[str, ...] = ("float32",)) -> Any:
    monkeypatch.setattr(gpu_sampling_peers, "preset_of", lambda name: TINY)
    monkeypatch.setattr(gpu_sampling_peers, "REPEATS", 1)
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    gpu_sampling_peers.run(Findings(tmp_path / "findings"), "tiny", list(types), [1, 2], list(ways), "cpu")
    found: list[Finding] = [json.loads(line) for line in (tmp_path / "findings").read_text().splitlines()]
    return found


def test_every_way_is_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(tmp_path, monkeypatch, "naive", "eager", *COMPILED, types=("float32", "float16"))
    assert {finding["kind"] for finding in found} == {"check", "timing"}
    checks = [finding for finding in found if finding["kind"] == "check"]
    assert len(checks) == 2 + 2 * 2 * 2  # of levels in float32; compiled, also of batches and ways
    assert all(check["passed"] and check["error"] < 1e-5 for check in checks)
    assert not torch.backends.cudnn.allow_tf32
    levels = [finding for finding in found if finding["name"] == "level"]
    assert {(f["way"], f["level"], f["type"], f["batch"]) for f in levels} == {
        (way, level, kind, batch)
        for way in (NAIVE, EAGER, *(name for name, _ in COMPILED.values()))
        for level in ("top", "bottom")
        for kind in ("float32", "float16")
        for batch in (1, 2)
    }
    for timing in levels:
        seconds = timing["seconds"]
        assert all(value > 0 for value in seconds.values())
        height = {"top": 4, "bottom": 8}[timing["level"]]
        assert seconds["level"] == pytest.approx(height * seconds["row"])
    assert {(f["type"], f["batch"]) for f in found if f["name"] == "decode"} == {
        (kind, batch) for kind in ("float32", "float16") for batch in (1, 2)
    }


def test_another_model_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def arranged(config: PriorConfig, weights: Weights, dtype: type) -> RowStepWeights:
        return arrange(config, {name: value * 1.01 for name, value in weights.items()}, dtype)

    monkeypatch.setattr(gpu_sampling_peers, "arrange", arranged)
    found = run(tmp_path, monkeypatch, "naive", "eager")
    assert [check["passed"] for check in found if check["kind"] == "check"] == [False, False]


def test_large_priors_are_made_on_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_sampling_peers, "MOST_ARRANGED", 1)
    found = run(tmp_path, monkeypatch, "naive", "eager")
    assert {finding["name"] for finding in found} == {"level", "decode"}


def test_a_way_that_fails_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> Any:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(gpu_sampling_peers, "time_naive", fails)
    found = run(tmp_path, monkeypatch, "naive", "eager")
    errors = [finding for finding in found if finding["kind"] == "error"]
    assert len(errors) == 4
    assert all(error["error"] == "RuntimeError: out of memory" for error in errors)
    assert {finding["way"] for finding in found if finding["name"] == "level"} == {EAGER}


def test_a_rounds_time_is_its_median(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = iter([5.0, 1.0, 2.0])
    monkeypatch.setattr(gpu_clock, "seconds", lambda work, device: next(taken))
    calls: list[int] = []
    work: Callable[[], object] = lambda: calls.append(1)  # noqa: E731
    assert gpu_clock.median(work, "cpu", 3, 100.0) == 2.0
    assert calls == [1]  # the first, which is not counted; ``seconds`` was played
    taken = iter([5.0, 1.0, 2.0])
    assert gpu_clock.median(work, "cpu", 3, 0.1) == 5.0


def test_naive_timing_waits_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[str] = []
    monkeypatch.setattr(naive_forward, "synchronise", waited.append)
    prior = random_prior(PRIORS["bottom-k5"])
    timing = naive_forward.time_naive(prior, budget=1e9)
    assert len(timing.rows) == 4
    assert waited == ["cpu"] * (2 + len(timing.rows))


def test_rates_and_the_floor() -> None:
    measured = measure_rates("cpu", gemm_size=64, read_sizes=(2**12, 2**16))
    assert measured.flops.keys() == {"float32", "float16"}
    assert all(rate > 0 for rate in (*measured.flops.values(), *measured.read.values()))
    assert Rates.from_json(json.loads(json.dumps(measured.to_json()))) == measured
    rates = Rates({"float32": 1e12, "float16": 1e30}, {10**6: 1e12, 4 * 10**7: 1e11, 10**12: 1e10})
    assert [rates.read_rate(size) for size in (1, 10**6, 39e6, 40e6, 1e15)] == [1e12, 1e12, 1e12, 1e11, 1e10]
    top = PRESETS["rosinality-256"].priors[0]
    one, two = (floor(top, 1, "float32", columns, rates) for columns in (1, 2))
    read = 41480192 + 4 * 4 * 2 * 128 * (32 * 32 - 1) / 2  # weights, and half of the history of four blocks
    assert one.step == pytest.approx(read / 1e11, rel=1e-6)
    assert two.step == one.step  # two columns share one reading
    assert one.row == pytest.approx(4.02653184e9 / 1e12)  # arithmetic
    assert one.level == pytest.approx(32 * (one.row + 32 * one.step))
    assert two.level == pytest.approx(32 * (two.row + 16 * two.step))
    half = floor(top, 1, "float16", 1, rates)
    assert half.step == pytest.approx(read / 2 / 1e12, rel=1e-6)  # half the bytes, and a smaller working set
