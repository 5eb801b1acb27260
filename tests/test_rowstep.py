"""The specification, compared with the full forward in float64 at every position, for every kind of prior."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from random_models import PRIORS, first_difference, full_forward, plain_weights, random_inputs, random_prior

from latentloop.export.specification.rowstep import RowStep
from latentloop.export.specification.rowstep_weights import arrange


def run_specification(spec: RowStep, codes: np.ndarray, upper: Any, labels: Any) -> tuple[np.ndarray, Any]:
    c = spec.config
    state, image = spec.start(len(codes)), spec.condition(upper, labels)
    logits = np.empty((*codes.shape, c.codebook_size))
    for i in range(c.height):
        terms = spec.row(state, image, i)
        for j in range(c.width):
            logits[:, i, j] = spec.step(state, image, terms, i, j)
            state.codes[i + c.reach, j + c.reach] = codes[:, i, j]
    return logits, state


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", PRIORS)
def test_equals_the_full_forward(name: str, batch: int) -> None:
    config = PRIORS[name]
    model = random_prior(config)
    inputs = random_inputs(config, batch)
    expected, activations = full_forward(model, **inputs)
    logits, state = run_specification(RowStep(arrange(config, plain_weights(model))), **inputs)
    p, above = config.reach, config.kernel - 1
    inside = slice(p, p + config.width)
    residual, hidden = state.residual[above:, inside], state.hidden[above:, inside]
    assert first_difference(config, residual, hidden, logits, expected, activations, tolerance=1e-12) is None


def test_a_difference_names_its_layer() -> None:
    config = PRIORS["top-k3"]
    model = random_prior(config)
    inputs = random_inputs(config, 1)
    expected, activations = full_forward(model, **inputs)
    weights = plain_weights(model)
    weights["blocks.1.residual.0.conv1.bias"] = weights["blocks.1.residual.0.conv1.bias"] + 0.01
    logits, state = run_specification(RowStep(arrange(config, weights)), **inputs)
    p, above = config.reach, config.kernel - 1
    inside = slice(p, p + config.width)
    message = first_difference(
        config, state.residual[above:, inside], state.hidden[above:, inside], logits, expected, activations, 1e-12
    )
    assert message is not None
    assert message.startswith("blocks.1.residual.0.conv2:")
