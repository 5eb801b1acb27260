"""Row and step with constant shapes, compared with the specification in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from random_models import PRIORS, plain_weights, random_inputs, random_prior

from latentloop.bench.baselines.torch_rowstep import TorchRowStep
from latentloop.bench.gpu.rowstep import CompiledRowStep, StaticRowStep
from latentloop.export.specification.rowstep import RowStep
from latentloop.export.specification.rowstep_weights import arrange

BATCH = 3


def random_loop(kind: str, name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[StaticRowStep, dict[str, Any], RowStep]:
    """Returns a loop with random float64 weights and columns of the kind, its inputs, and the specification."""
    config = PRIORS[name]
    weights = arrange(config, plain_weights(random_prior(config)))
    inputs = random_inputs(config, BATCH)
    upper, labels = (None if inputs[key] is None else torch.from_numpy(inputs[key]) for key in ("upper", "labels"))
    model = TorchRowStep(weights)
    if kind == "integers":
        return StaticRowStep(model, BATCH, upper, labels), inputs, RowStep(weights)
    compile_options: list[Any] = []

    def compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        compile_options.append(options)
        return function

    monkeypatch.setattr(torch, "compile", compiled)
    loop = CompiledRowStep(model, BATCH, upper, labels, "max-autotune")
    assert compile_options == [{"mode": "max-autotune"}] * 2
    return loop, inputs, RowStep(weights)


@pytest.mark.parametrize("kind", ["integers", "tensors"])
@pytest.mark.parametrize("name", PRIORS)
def test_equals_the_specification(name: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loop, inputs, spec = random_loop(kind, name, monkeypatch)
    config = loop.model.config
    loop.forced[:] = torch.from_numpy(inputs["codes"].transpose(1, 2, 0).copy())
    addresses = [tensor.data_ptr() for tensor in loop.tensors()]
    fixed = spec.condition(inputs["upper"], inputs["labels"])
    for _ in range(2):  # restart sets the state back
        loop.restart()
        state = spec.start(BATCH)
        for i in range(config.height):
            terms = spec.row(state, fixed, i)
            loop.begin_row()
            loop.steps()
            for j in range(config.width):
                logits = spec.step(state, fixed, terms, i, j)
                state.codes[i + config.reach, j + config.reach] = inputs["codes"][:, i, j]
                np.testing.assert_allclose(loop.logits[j].numpy(), logits, rtol=0, atol=1e-11)
    np.testing.assert_array_equal(loop.codes.numpy().transpose(2, 0, 1), inputs["codes"])
    assert [tensor.data_ptr() for tensor in loop.tensors()] == addresses


@pytest.mark.parametrize("kind", ["integers", "tensors"])
def test_draws_the_same_codes_as_the_eager_loop(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loop, inputs, _ = random_loop(kind, "middle-attention-k5", monkeypatch)
    model, config = loop.model, loop.model.config
    upper, labels = torch.from_numpy(inputs["upper"]), torch.from_numpy(inputs["labels"])
    fixed, state, none = model.condition(upper, labels), model.start(BATCH), torch.full((BATCH,), -1)
    for i in range(config.height):
        terms = model.begin_row(state, fixed, i)
        loop.begin_row()
        loop.steps()
        for j in range(config.width):
            code = model.step(state, fixed, terms, (i, j), loop.uniform[i, j], none).code
            assert loop.codes[i, j].tolist() == code.tolist()
    assert len(set(loop.codes.flatten().tolist())) > 1


def test_float16_is_close_to_float32() -> None:
    config = PRIORS["top-k5"]
    weights = arrange(config, plain_weights(random_prior(config)), np.float32)
    logits = []
    for dtype in (torch.float32, torch.float16):
        loop = StaticRowStep(TorchRowStep(weights, dtype=dtype), 1, None, None)
        assert loop.state.keys.dtype == dtype
        loop.forced.zero_()
        for _ in range(2):
            loop.begin_row()
            loop.steps()
        assert loop.logits.dtype == torch.float32
        logits.append(loop.logits)
    difference = float((logits[0] - logits[1]).abs().max() / logits[0].std())
    assert 0 < difference < 0.05
