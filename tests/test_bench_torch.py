"""The PyTorch row and step against the specification in float64, position by position, and all implementations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bench_results import TINY
from random_models import PRIORS, plain_weights, random_inputs, random_prior

from latentloop import Bundle, Sampler
from latentloop.bench.baselines.agreement import logit_differences
from latentloop.bench.baselines.compiled import CompiledPyTorch
from latentloop.bench.baselines.eager import spread
from latentloop.bench.baselines.implementation import IMPLEMENTATIONS, Inputs
from latentloop.bench.baselines.registry import create
from latentloop.bench.baselines.timed_backend import TimedCpuBackend
from latentloop.bench.baselines.torch_rowstep import TorchRowStep
from latentloop.bench.workload.models import write_part
from latentloop.bench.workload.part import Part, TimedLevel
from latentloop.bundles.manifest import Manifest
from latentloop.errors import InputError, LatentLoopError, MissingError
from latentloop.export.specification.rowstep import RowStep
from latentloop.export.specification.rowstep_weights import arrange
from latentloop.sampling.sampler import sampler_on


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Part:
    """A small hierarchy's checkpoints and bundle."""
    levels = [TimedLevel(*pair) for pair in zip(("top", "bottom"), TINY.priors, TINY.priors, strict=True)]
    return write_part(Part(tmp_path_factory.mktemp("bench") / "part", TINY.vqvae, tuple(levels)))


@pytest.mark.parametrize("name", PRIORS)
def test_equals_the_specification(name: str) -> None:
    config = PRIORS[name]
    weights = arrange(config, plain_weights(random_prior(config)))
    inputs = random_inputs(config, 3)
    spec, fast = RowStep(weights), TorchRowStep(weights)
    tensors = {key: None if value is None else torch.from_numpy(value) for key, value in inputs.items()}
    expected_fixed, fixed = (
        spec.condition(inputs["upper"], inputs["labels"]),
        fast.condition(tensors["upper"], tensors["labels"]),
    )
    expected_state, state = spec.start(3), fast.start(3)
    for i in range(config.height):
        expected_terms, terms = spec.row(expected_state, expected_fixed, i), fast.begin_row(state, fixed, i)
        for term, expected in zip(
            terms, (expected_terms.input, expected_terms.conv1, expected_terms.conv2), strict=True
        ):
            np.testing.assert_allclose(term.numpy(), expected, rtol=0, atol=1e-11)
        for j in range(config.width):
            forced = inputs["codes"][:, i, j]
            logits = spec.step(expected_state, expected_fixed, expected_terms, i, j)
            expected_state.codes[i + config.reach, j + config.reach] = forced
            column = fast.step(state, fixed, terms, (i, j), torch.zeros(3), torch.from_numpy(forced))
            np.testing.assert_allclose(column.logits.numpy(), logits, rtol=0, atol=1e-11)
            np.testing.assert_array_equal(column.code.numpy(), forced)


def test_draws_the_first_code_whose_mass_exceeds_u() -> None:
    config = PRIORS["two-codes"]
    fast = TorchRowStep(arrange(config, plain_weights(random_prior(config))))
    state, fixed = fast.start(2), fast.condition(torch.zeros(2, *config.condition_grid, dtype=torch.int64), None)
    terms = fast.begin_row(state, fixed, 0)
    uniform = torch.tensor([0.0, 1 - 2**-24], dtype=torch.float64)
    column = fast.step(state, fixed, terms, (0, 0), uniform, torch.tensor([-1, -1]))
    assert column.code.tolist() == [0, 1]
    assert state.codes[-1, config.reach].tolist() == [0, 1]


def test_implementations_draw_from_the_same_model(part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda function: function)  # tests the copies around compiled functions
    implementations = [create(name, 1) for name in IMPLEMENTATIONS if name != "int8"]
    for implementation in implementations:
        assert implementation.load(part) > 0
    assert max(logit_differences(implementations, part).values()) < 1e-4
    for implementation in implementations:
        for level in part.levels:
            timing = implementation.time(level, 1, 60.0)
            height, timed = level.config.height, set(timing.rows)
            assert timed == set(range(height)) if "whole" not in implementation.title else {0, height - 1} <= timed
            assert all(timing.host(row) > -1e-9 for row in timing.rows)
            assert len(timing.steps[0]) * timing.columns(level.config.width) == level.config.width
            assert len(implementation.time(level, 1, 0.0).rows) == 3
        assert timing.condition > 0


def test_another_model_is_not_timed(part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    implementations = [create(name, 1) for name in ("eager", "float32")]
    for implementation in implementations:
        implementation.load(part)
    logits: Callable[..., Any] = type(implementations[1]).logits
    monkeypatch.setattr(type(implementations[1]), "logits", lambda *arguments: logits(*arguments) * 1.1)
    with pytest.raises(LatentLoopError, match="LatentLoop, float32: logits of top differ by"):
        logit_differences(implementations, part)


def test_unavailable_implementations_give_a_reason(part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> str:
        raise InputError("the bundle has no int8")

    monkeypatch.setattr(Manifest, "check_precision", refuse)
    with pytest.raises(MissingError, match="has no int8"):
        create("int8", 1).load(part)

    def compiler(_: object) -> Callable[..., Any]:
        def compiled(*_: object) -> Any:
            raise RuntimeError("no C++ compiler\nand a long story")

        return compiled

    monkeypatch.setattr(torch, "compile", compiler)
    with pytest.raises(MissingError, match=r"torch.compile failed: RuntimeError: no C\+\+ compiler$"):
        CompiledPyTorch().load(part)


def test_a_part_is_read_from_its_description(part: Part) -> None:
    assert Part.open(part.folder) == part
    assert part.grids == {"top": (4, 4), "bottom": (8, 8)}
    inputs = Inputs.random(part.levels[1].config, 2)
    assert inputs.codes.shape == (2, 8, 8)
    assert inputs.upper is not None
    assert inputs.upper.shape == (2, 4, 4)


def test_rows_are_spread() -> None:
    assert spread(1) == [0]
    assert spread(9)[:5] == [0, 8, 4, 2, 6]
    for height in (1, 2, 3, 9, 64):
        assert sorted(spread(height)) == list(range(height))


def test_the_timed_backend_draws_the_same_codes(small_bundle: Path) -> None:
    bundle = Bundle.open(small_bundle)
    backend = TimedCpuBackend(bundle, 1, "float32")
    codes = sampler_on(bundle, backend).sample(2, labels=0, seeds=3).codes
    seconds = backend.take_seconds()
    assert {name: len(values) for name, values in seconds.items()} == {
        "condition": 2,
        "row": 4 + 8,
        "step": sum(
            level.height * level.width // level.prior.columns_per_step
            for level in bundle.manifest.levels
            if level.prior is not None
        ),
        "decoder": 1,
    }
    assert all(value > 0 for values in seconds.values() for value in values)
    assert backend.take_seconds() == {}
    expected = Sampler(bundle, "cpu", threads=1).sample(2, labels=0, seeds=3).codes
    for name, values in expected.items():
        np.testing.assert_array_equal(codes[name], values)
    assert backend.take_seconds() == {}  # a plain sampler of the same bundle is not timed
