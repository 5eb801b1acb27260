"""The graphs, run by ONNX Runtime and the loop, compared with the full forward at every position and layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cpu_sessions import cpu_session
from exported_priors import export, exported, prior_of
from random_models import (
    LIBRARY,
    NATIVE,
    PRIORS,
    first_difference,
    full_forward,
    plain_weights,
    random_inputs,
)

from latentloop.backends.bundle_errors import check_drawn
from latentloop.backends.cpu.loop import PriorLoop
from latentloop.backends.cpu.session import OrtSession
from latentloop.bundles.manifest import Level, Prior
from latentloop.draws.draw_settings import DrawSettings
from latentloop.draws.level_inputs import LevelInputs
from latentloop.errors import BundleError
from latentloop.export.configuration import PriorConfig

TOLERANCE = 1e-4  # float32 against float64, of max(1, max |expected|)


Load = Callable[[str], OrtSession]


def sessions(folder: Path, native: Path | None = LIBRARY) -> Load:
    """Opens each graph of a folder once, for several loops."""
    return cache(lambda file: cpu_session(folder / file, 2 if native else 1, native))


def make_loop(config: PriorConfig, prior: Prior, load: Load, batch: int) -> PriorLoop:
    return PriorLoop(Level("level", config.height, config.width, config.codebook_size, prior), prior, load, batch)


def level_inputs(config: PriorConfig, inputs: dict[str, Any], **overrides: Any) -> LevelInputs:
    batch = len(inputs["codes"])
    settings: dict[str, Any] = {
        "uniform": np.zeros((config.height, config.width, batch), np.float32),
        "forced": inputs["codes"].transpose(1, 2, 0),
        "upper": inputs["upper"],
        "labels": inputs["labels"],
    }
    return LevelInputs(**(settings | overrides))


def teacher_forced(loop: PriorLoop, inputs: LevelInputs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the logits [N, H, W, K], and the state's residual and hidden inputs [H, W, L, B, channels].

    The next row's graph computes a row's last hidden column; that of the last row is never computed.
    """
    logits, residual = [], []
    hidden: list[np.ndarray] = []
    for row in loop.rows(inputs):
        logits.append(row.logits.copy())
        residual.append(ring_row(loop, "residual", row.index))
        if row.index > 0:
            hidden[-1] = ring_row(loop, "hidden", row.index - 1)
        hidden.append(ring_row(loop, "hidden", row.index))
    return np.stack(logits).transpose(2, 0, 1, 3), np.stack(residual), np.stack(hidden)


def ring_row(loop: PriorLoop, name: str, i: int) -> np.ndarray:
    ring = loop.buffer(name)
    padding = (ring.shape[1] - loop.level.width) // 2
    return ring[i % len(ring), padding : padding + loop.level.width].copy()


@pytest.mark.parametrize("native", [NATIVE, pytest.param(None, id="standard")])
@pytest.mark.parametrize("name", PRIORS)
def test_equals_the_full_forward(name: str, native: Path | None, tmp_path: Path) -> None:
    config = PRIORS[name]
    prior, load = exported(config, tmp_path), sessions(tmp_path, native)
    for batch in (1, 3):
        inputs = random_inputs(config, batch)
        expected, activations = full_forward(prior_of(config), **inputs)
        loop = make_loop(config, prior, load, batch)
        for _ in range(2):  # the second run starts with the buffers of the first
            logits, residual, hidden = teacher_forced(loop, level_inputs(config, inputs))
            for layer in range(config.layers):
                b, r = divmod(layer, config.residual_blocks)
                hidden[-1, -1, layer] = activations[f"blocks.{b}.residual.{r}.conv2"][:, -1, -1]
            difference = first_difference(config, residual, hidden, logits, expected, activations, TOLERANCE)
            assert difference is None, f"batch {batch}: {difference}"


@pytest.mark.parametrize("name", ["top-k5", "bottom-k3-classes"])
def test_a_sample_does_not_depend_on_its_batch(name: str, tmp_path: Path) -> None:
    config = PRIORS[name]
    prior, load = exported(config, tmp_path), sessions(tmp_path)
    inputs = random_inputs(config, 3)
    together, _, _ = teacher_forced(make_loop(config, prior, load, 3), level_inputs(config, inputs))
    alone_inputs = {key: None if value is None else value[1:2] for key, value in inputs.items()}
    alone, _, _ = teacher_forced(make_loop(config, prior, load, 1), level_inputs(config, alone_inputs))
    np.testing.assert_allclose(alone[0], together[1], rtol=1e-5, atol=1e-5 * np.abs(alone).max())


@pytest.mark.parametrize("native", [NATIVE, pytest.param(None, id="standard")])
@pytest.mark.parametrize("name", ["top-k3", "middle-attention-k5"])
def test_entries_that_are_not_yet_written_are_masked(name: str, native: Path | None, tmp_path: Path) -> None:
    """A loop can bind the whole history in every row; its later entries hold values of an earlier image."""
    config = PRIORS[name]
    prior, load = exported(config, tmp_path), sessions(tmp_path, native)
    inputs = level_inputs(config, random_inputs(config, 2))
    expected, _, _ = teacher_forced(make_loop(config, prior, load, 2), inputs)
    loop = make_loop(config, prior, load, 2)
    for role, graph in loop.prior.graphs.items():
        inputs_with_history = tuple(replace(b, view="all") if b.view == "entries" else b for b in graph.inputs)
        loop.prior.graphs[role] = replace(graph, inputs=inputs_with_history)
    for memory in loop.prior.memories:
        if memory.name.startswith(("keys", "values")):
            loop.buffer(memory.name)[:] = 1e3
    logits, _, _ = teacher_forced(loop, inputs)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("native", [NATIVE, pytest.param(None, id="standard")])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("filtered", [False, True])
def test_no_code_is_drawn_from_logits_that_are_not_finite(
    filtered: bool, value: float, native: Path | None, tmp_path: Path
) -> None:
    config = PRIORS["bottom-k3-classes"]
    weights = plain_weights(prior_of(config))
    bias = next(name for name, array in weights.items() if name.startswith("logits") and array.ndim == 1)
    weights[bias] = weights[bias].copy()
    weights[bias][3] = value
    settings = DrawSettings.of(2, **({"top_k": 2} if filtered else {})).arrays(config.codebook_size)
    free = np.full((config.height, config.width, 2), -1)
    inputs = level_inputs(config, random_inputs(config, 2), forced=free, settings=settings)
    loop = make_loop(config, export(config, weights, tmp_path), sessions(tmp_path, native), 2)
    for row in loop.rows(inputs):
        with pytest.raises(BundleError, match="level has logits that are not finite numbers"):
            check_drawn(tmp_path, loop.level, row.codes)


@pytest.mark.parametrize("name", ["top-k3", "middle-attention-k5", "bottom-k7"])
def test_top_k_1_draws_the_most_probable_code(name: str, tmp_path: Path) -> None:
    config = PRIORS[name]
    inputs = random_inputs(config, 2)
    loop = make_loop(config, exported(config, tmp_path), sessions(tmp_path), 2)
    free = np.full((config.height, config.width, 2), -1)
    greedy = DrawSettings.of(2, top_k=1).arrays(config.codebook_size)
    rows = [row.codes.copy() for row in loop.rows(level_inputs(config, inputs, forced=free, settings=greedy))]
    codes = np.stack(rows).transpose(2, 0, 1)
    expected, _ = full_forward(prior_of(config), codes, inputs["upper"], inputs["labels"])
    chosen = np.take_along_axis(expected, codes[..., None], 3)[..., 0]
    near_tie = TOLERANCE * max(1.0, float(np.abs(expected).max()))
    assert (chosen >= expected.max(3) - near_tie).all()
    assert (codes == expected.argmax(3)).mean() > 0.99


def test_initial_values_of_the_buffers_do_not_matter(tmp_path: Path) -> None:
    """The result is the same with buffers full of NaN, or of 1000 if a mask hides them."""
    for name in ("top-k7-classes", "bottom-k5"):
        config = PRIORS[name]
        inputs = random_inputs(config, 2)
        loop = make_loop(config, exported(config, tmp_path), sessions(tmp_path), 2)
        expected, _, _ = teacher_forced(loop, level_inputs(config, inputs))
        for memory in loop.prior.memories:
            if memory.dtype == "float32":
                is_masked = memory.name.startswith(("keys", "values", "row_keys", "row_values"))
                loop.buffer(memory.name)[:] = 1e3 if is_masked else np.nan
        again, _, _ = teacher_forced(loop, level_inputs(config, inputs))
        np.testing.assert_array_equal(again, expected)
