"""The PyTorch row and step against the specification: the same numbers in float64, position by position."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bench_results import TINY
from random_models import PRIORS, plain_weights, random_inputs, random_prior

from latentloop.bench.baselines import baseline as peers
from latentloop.bench.baselines.baseline import PEERS, Inputs, agreement
from latentloop.bench.baselines.by_name import make_peer
from latentloop.bench.baselines.timed_calls import timed_calls
from latentloop.bench.baselines.torch_baseline import CompiledPeer, spread
from latentloop.bench.baselines.torch_rowstep import TorchRowStep
from latentloop.bench.sampling.models import write_part
from latentloop.bench.sampling.parts import Part, TimedLevel
from latentloop.errors import InputError, LatentLoopError, MissingError
from latentloop.export.specification.rowstep import RowStep
from latentloop.export.specification.rowstep_weights import arrange


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
        for found, expected in zip(
            terms, (expected_terms.input, expected_terms.conv1, expected_terms.conv2), strict=True
        ):
            np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-11)
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
    found = fast.step(state, fixed, terms, (0, 0), uniform, torch.tensor([-1, -1]))
    assert found.code.tolist() == [0, 1]
    assert state.codes[-1, config.reach].tolist() == [0, 1]


def test_peers_draw_from_the_same_model(part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda function: function)  # the copies around it are what is tested
    with timed_calls() as clock:
        found = [make_peer(kind, 1, clock) for kind in PEERS if kind != "int8"]
        for peer in found:
            assert peer.load(part) > 0
        assert max(agreement(found, part).values()) < 1e-4
        for peer in found:
            for level in part.levels:
                whole = peer.time(level, 1, 60.0)
                height, timed = level.config.height, set(whole.rows)
                assert timed == set(range(height)) if "whole" not in peer.name else {0, height - 1} <= timed
                assert all(whole.host(row) > -1e-9 for row in whole.rows)
                assert len(whole.steps[0]) * whole.columns(level.config.width) == level.config.width
                assert len(peer.time(level, 1, 0.0).rows) == 1
            assert whole.condition > 0


def test_another_model_is_not_timed(part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    with timed_calls() as clock:
        found = [make_peer(kind, 1, clock) for kind in ("eager", "float32")]
        for peer in found:
            peer.load(part)
        right: Callable[..., Any] = type(found[1]).logits
        monkeypatch.setattr(type(found[1]), "logits", lambda *arguments: right(*arguments) * 1.1)
        with pytest.raises(LatentLoopError, match="LatentLoop, float32: logits of top differ by"):
            agreement(found, part)


def test_what_cannot_run_says_why(part: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise InputError("the bundle has no int8")

    monkeypatch.setattr("latentloop.bench.baselines.latentloop_runtime.Sampler", refuse)
    with timed_calls() as clock, pytest.raises(MissingError, match="has no int8"):
        make_peer("int8", 1, clock).load(part)

    def compiler(_: object) -> Callable[..., Any]:
        def compiled(*_: object) -> Any:
            raise RuntimeError("no C++ compiler\nand a long story")

        return compiled

    monkeypatch.setattr(torch, "compile", compiler)
    with pytest.raises(MissingError, match=r"torch.compile failed: RuntimeError: no C\+\+ compiler$"):
        CompiledPeer().load(part)


def test_a_part_describes_itself(part: Part) -> None:
    assert Part.open(part.folder) == part
    assert part.grids == {"top": (4, 4), "bottom": (8, 8)}
    inputs = Inputs.random(part.levels[1], 2)
    assert inputs.codes.shape == (2, 8, 8)
    assert inputs.upper is not None
    assert inputs.upper.shape == (2, 4, 4)
    assert peers.PEER_NAMES["float32"] == "LatentLoop, float32"


def test_rows_are_spread() -> None:
    assert spread(1) == [0]
    assert spread(9)[:5] == [0, 8, 4, 2, 6]
    for height in (1, 2, 3, 9, 64):
        assert sorted(spread(height)) == list(range(height))


def test_the_clock_leaves_nothing_behind(small_bundle: Path) -> None:
    from latentloop.backends.cpu.session import OrtSession

    plain = OrtSession.call
    with timed_calls():
        assert OrtSession.call is not plain
    assert OrtSession.call is plain
