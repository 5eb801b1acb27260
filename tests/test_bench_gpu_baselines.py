"""The bench's baselines for a GPU, with tiny models on the CPU."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bench_results import TINY
from random_models import PRIORS, plain_weights, random_prior

from latentloop.bench.baselines import naive_forward
from latentloop.bench.gpu.check import baselines
from latentloop.bench.gpu.check.baselines import COMPILED, EAGER, NAIVE
from latentloop.bench.gpu.check.findings import Finding, Findings, read_findings
from latentloop.bench.gpu.roofline import measure_rates
from latentloop.bench.gpu.weights import random_weights
from latentloop.bench.machine import gpu_clock
from latentloop.bench.machine.peaks import Peaks
from latentloop.bench.workload.bounds import level_bound
from latentloop.export.checkpoints.lazy_arrays import Weights
from latentloop.export.configuration import PriorConfig
from latentloop.export.models.presets import PRESETS
from latentloop.export.specification.rowstep_weights import RowStepWeights, arrange


def shapes(value: Any) -> Any:
    """Returns the same structure with shapes instead of arrays and tensors."""
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return tuple(value.shape)
    if isinstance(value, tuple):
        return tuple(map(shapes, value))
    if is_dataclass(value):
        return {field.name: shapes(getattr(value, field.name)) for field in fields(value)}
    return value


@pytest.mark.parametrize("name", PRIORS)
def test_random_weights_have_the_shapes_of_a_checkpoints(name: str) -> None:
    config = PRIORS[name]
    weights = random_weights(config, "cpu", torch.float16)
    assert shapes(weights) == shapes(arrange(config, plain_weights(random_prior(config)), np.float32))
    assert weights.logits.dtype == torch.float16


def time_tiny(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *methods: str, types: tuple[str, ...] = ("float32",)
) -> list[Finding]:
    monkeypatch.setattr(baselines, "preset_of", lambda name: TINY)
    monkeypatch.setattr(baselines, "REPEATS", 1)
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    path = tmp_path / "findings"
    baselines.time_baselines(Findings(path), "tiny", list(types), [1, 2], list(methods), "cpu")
    return read_findings(path)


def test_every_method_is_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    findings = time_tiny(tmp_path, monkeypatch, "naive", "eager", *COMPILED, types=("float32", "float16"))
    assert {finding["kind"] for finding in findings} == {"check", "timing"}
    checks = [finding for finding in findings if finding["kind"] == "check"]
    assert len(checks) == 2 + 2 * 2 * 2  # in float32: eager, per level; compiled, per level, batch and method
    assert all(check["passed"] and check["error"] < 1e-5 for check in checks)
    assert not torch.backends.cudnn.allow_tf32
    levels = [finding for finding in findings if finding["name"] == "level"]
    assert {(f["way"], f["level"], f["type"], f["batch"]) for f in levels} == {
        (title, level, kind, batch)
        for title in (NAIVE, EAGER, *(title for title, _ in COMPILED.values()))
        for level in ("top", "bottom")
        for kind in ("float32", "float16")
        for batch in (1, 2)
    }
    for timing in levels:
        seconds = timing["seconds"]
        assert all(value > 0 for value in seconds.values())
        height = {"top": 4, "bottom": 8}[timing["level"]]
        assert seconds["level"] == pytest.approx(height * seconds["row"])
    assert {(f["type"], f["batch"]) for f in findings if f["name"] == "decode"} == {
        (kind, batch) for kind in ("float32", "float16") for batch in (1, 2)
    }


def test_another_model_fails_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def arranged(config: PriorConfig, weights: Weights, dtype: type) -> RowStepWeights:
        return arrange(config, {name: value * 1.01 for name, value in weights.items()}, dtype)

    monkeypatch.setattr(baselines, "arrange", arranged)
    findings = time_tiny(tmp_path, monkeypatch, "naive", "eager")
    assert [check["passed"] for check in findings if check["kind"] == "check"] == [False, False]


def test_weights_of_large_priors_are_created_on_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "MAX_ARRANGED", 1)
    findings = time_tiny(tmp_path, monkeypatch, "naive", "eager")
    assert {finding["name"] for finding in findings} == {"level", "decode"}


def test_a_method_that_fails_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> Any:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(baselines, "time_naive", fails)
    findings = time_tiny(tmp_path, monkeypatch, "naive", "eager")
    errors = [finding for finding in findings if finding["kind"] == "error"]
    assert len(errors) == 4
    assert all(error["error"] == "RuntimeError: out of memory" for error in errors)
    assert {finding["way"] for finding in findings if finding["name"] == "level"} == {EAGER}


def test_the_median_excludes_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([5.0, 1.0, 2.0])
    monkeypatch.setattr(gpu_clock, "seconds", lambda work, device: next(times))
    calls = Counter[str]()

    def work() -> None:
        calls["work"] += 1

    assert gpu_clock.median(work, "cpu", 3, 100.0) == 2.0
    assert calls["work"] == 1  # the warm-up; the fake ``seconds`` does not run it
    times = iter([5.0, 1.0, 2.0])
    assert gpu_clock.median(work, "cpu", 3, 0.1) == 5.0


def test_naive_timing_waits_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    unfinished = 0.05  # seconds for which a device still works when a call returns
    monkeypatch.setattr(naive_forward, "synchronise", lambda device: time.sleep(unfinished))
    prior = random_prior(PRIORS["bottom-k5"])
    timing = naive_forward.time_naive(prior, budget=2.0)  # less than the level, more than four forwards
    assert len(timing.rows) == 4
    assert timing.condition >= unfinished
    assert all(seconds >= unfinished for steps in timing.steps.values() for seconds in steps)


def test_rates_and_level_bounds() -> None:
    measured = measure_rates("cpu", gemm_size=64, read_sizes=(2**12, 2**16))
    assert measured["flops"].keys() == {"float32", "float16"}
    assert all(rate > 0 for rate in (*measured["flops"].values(), *measured["read"].values()))
    assert Peaks.of_gpu(json.loads(json.dumps(measured))) == Peaks.of_gpu(measured)
    read = {10**6: 1e12, 3 * 10**7: 1e12, 4 * 10**7: 1e11, 5 * 10**7: 1e11, 10**12: 1e10}
    rates = Peaks.of_gpu({"flops": {"float32": 1e12, "float16": 1e30}, "read": read})
    assert [rates.read_rate(size) for size in (1, 10**6, 29e6, 40e6, 1e15)] == [1e12, 1e12, 1e12, 1e11, 1e10]
    top = PRESETS["rosinality-256"].priors[0]
    one, two = (level_bound(top, rates, 1, columns) for columns in (1, 2))
    size = 41480192 + 4 * 4 * 2 * 128 * (32 * 32 - 1) / 2  # weights, and half of the keys and values of four blocks
    assert one.step == pytest.approx(size / 1e11, rel=1e-6)
    assert two.step == one.step  # two columns read the weights once
    assert one.row == pytest.approx(4.02653184e9 / 1e12)  # arithmetic
    assert one.level == pytest.approx(32 * (one.row + 32 * one.step))
    assert two.level == pytest.approx(32 * (two.row + 16 * two.step))
    half = level_bound(top, rates, kind="float16")
    assert half.step == pytest.approx(size / 2 / 1e12, rel=1e-6)  # half the bytes, and a smaller working set
