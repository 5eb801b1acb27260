"""The draw in the graph, compared with its NumPy reference and with the expected distribution."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from random_models import LIBRARY, NATIVE

from latentloop.draws.draw_settings import DrawSettings
from latentloop.draws.reference import distribution, draw
from latentloop.draws.settings import SETTINGS
from latentloop.export.graphs.builder import FLOAT, INT64, GraphBuilder, WeightStore
from latentloop.export.graphs.prior.draw import DrawInputs, draw_code

CODES = 12


def draw_session(*, filtered: bool, codes: int = CODES, native: Path | None = LIBRARY) -> onnxruntime.InferenceSession:
    """A step's draw from given logits, which are shifted to be positive so that ELU does not change them."""
    g = GraphBuilder("draw", WeightStore())
    logits = g.input("logits", FLOAT, ["batch", codes])
    x = g.op("Sub", logits, g.op("ReduceMin", logits, g.constant([1]), keepdims=1))
    inputs = DrawInputs(g, codes, 1, filtered=filtered)
    code, _ = draw_code(g, x, g.constant(np.eye(codes)), g.constant(np.zeros(codes)), inputs, 0)
    g.output("code", code, INT64, ["batch"])
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if native:
        options.register_custom_ops_library(str(native))
    return onnxruntime.InferenceSession(g.model({}).SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(session: onnxruntime.InferenceSession, **inputs: Any) -> np.ndarray:
    n = len(inputs["logits"])
    settings = DrawSettings.of(n, **{name: value for name, value in inputs.items() if name in SETTINGS})
    values = {"forced": np.full(n, -1), **settings.values, **inputs}
    values["top_k"] = np.minimum(values["top_k"], inputs["logits"].shape[1])
    types = {i.name: np.int64 if "int64" in i.type else np.float32 for i in session.get_inputs()}
    per_column = ("uniform", "forced")
    feeds = {name: values[name].astype(kind)[None if name in per_column else ...] for name, kind in types.items()}
    (codes,) = session.run(["code"], feeds)
    assert isinstance(codes, np.ndarray)
    return codes


def uniforms(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**24, n) * 2.0**-24


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 0.5},
        {"temperature": 2.0, "top_k": 5},
        {"top_p": 0.7},
        {"temperature": 0.8, "top_k": 6, "top_p": 0.9},
        {"top_k": 1},
        {"min_p": 0.2},
        {"temperature": 1.5, "top_k": 9, "top_p": 0.95, "min_p": 0.1},
        {"min_p": 1.0},
    ],
    ids=str,
)
def test_draws_follow_the_softmax(settings: dict[str, float]) -> None:
    """A chi-squared test over 100 000 draws. A correct draw exceeds the bound once in 10^5 runs."""
    n = 100_000
    logits = np.random.default_rng(5).normal(size=(1, CODES)) * 1.5
    expected = distribution(logits, DrawSettings.of(1, **settings))[0]
    session = draw_session(filtered=bool(settings.keys() - {"temperature"}))
    many = {name: np.full(n, value) for name, value in settings.items()}
    codes = run(session, logits=np.repeat(logits, n, 0), uniform=uniforms(n), **many)
    counts = np.bincount(codes, minlength=CODES)
    assert (counts[expected == 0] == 0).all()
    live = expected > 0
    statistic = float((np.square(counts[live] - n * expected[live]) / (n * expected[live])).sum())
    degrees = int(live.sum()) - 1
    assert (
        statistic <= degrees + 4.27 * np.sqrt(2 * degrees) + 12
    )  # the bound of a normal distribution, and a margin for the skew


@pytest.mark.parametrize("native", [NATIVE, pytest.param(None, id="standard")])
@pytest.mark.parametrize("filtered", [False, True])
def test_equals_the_reference(filtered: bool, native: Path | None) -> None:
    rng = np.random.default_rng(1)
    n = 4000
    logits = rng.normal(size=(n, CODES)).astype(np.float32).astype(np.float64) * 3
    settings: dict[str, Any] = {"temperature": rng.uniform(0.2, 3, n)}
    if filtered:
        settings |= {
            "top_k": rng.integers(1, CODES + 1, n),
            "top_p": rng.uniform(0.05, 1, n),
            "min_p": rng.uniform(0, 1, n) ** 4,
        }
    settings = {name: value.astype(np.float32).astype(np.float64) for name, value in settings.items()}
    uniform = uniforms(n, 2)
    codes = run(draw_session(filtered=filtered, native=native), logits=logits, uniform=uniform, **settings)
    expected = draw(logits, uniform, DrawSettings.of(n, **settings))
    differs = codes != expected
    assert differs.mean() < 2e-3  # float32 rounding sometimes moves an edge across u, or a filter's boundary


def test_min_p_compares_probabilities_after_the_temperature() -> None:
    """Among the probabilities 8 : 4 : 2 : 1, a temperature of 1/2 makes 64 : 16 : 4 : 1; equal ones pass together."""
    logits = np.log(np.array([[4.0, 8.0, 1.0, 8.0, 2.0, *[1e-9] * 7]]))
    n = 400
    for temperature, min_p, allowed in (
        (1.0, 0.6, {1, 3}),
        (1.0, 0.4, {0, 1, 3}),
        (0.5, 0.4, {1, 3}),
        (0.5, 0.2, {0, 1, 3}),
        (1.0, 1.0, {1, 3}),
        (1.0, 0.1, {0, 1, 2, 3, 4}),
    ):
        settings = {"temperature": np.full(n, temperature), "min_p": np.full(n, min_p)}
        codes = run(draw_session(filtered=True), logits=np.repeat(logits, n, 0), uniform=np.arange(n) / n, **settings)
        assert set(codes) == allowed, (temperature, min_p)


def test_ties_are_ranked_by_index() -> None:
    logits = np.array([[1.0, 2.0, 2.0, 2.0, 0.0, *[-9.0] * 7]])
    for top_k, allowed in ((1, {1}), (2, {1, 2}), (3, {1, 2, 3})):
        n = 200
        codes = run(
            draw_session(filtered=True),
            logits=np.repeat(logits, n, 0),
            uniform=np.arange(n) / n,
            top_k=np.full(n, top_k),
        )
        assert set(codes) == allowed


def test_the_largest_uniform_number_draws_a_code() -> None:
    n = 2000
    logits = np.random.default_rng(3).normal(size=(n, CODES)) * 4
    largest = np.full(n, 1 - 2.0**-24)
    for filtered in (False, True):
        codes = run(draw_session(filtered=filtered), logits=logits, uniform=largest, top_p=np.full(n, 0.9))
        assert codes.max() < CODES


def test_zero_draws_the_first_allowed_code() -> None:
    logits = np.linspace(0, 5, CODES)[None]
    codes = run(draw_session(filtered=True), logits=logits, uniform=np.zeros(1), top_k=np.full(1, 3))
    assert codes[0] == CODES - 3


def test_forced_codes_replace_the_drawn_ones() -> None:
    logits = np.zeros((3, CODES))
    codes = run(draw_session(filtered=False), logits=logits, uniform=np.full(3, 0.99), forced=np.array([0, -1, 7]))
    assert codes.tolist() == [0, 11, 7]


def test_filters_that_are_off_change_nothing() -> None:
    n = 5000
    logits = np.random.default_rng(6).normal(size=(n, CODES)) * 2
    inputs = {"logits": logits, "uniform": uniforms(n, 7), "temperature": np.full(n, 0.7)}
    np.testing.assert_array_equal(
        run(draw_session(filtered=False), **inputs), run(draw_session(filtered=True), **inputs)
    )


def test_top_p_of_1_does_not_remove_the_tail() -> None:
    """Float32 sums in two orders differ, so a bound of 1 would remove codes that can be drawn without a filter."""
    n, codes = 2000, 512
    logits = np.random.default_rng(8).normal(size=(n, codes)) * 3
    inputs = {"logits": logits, "uniform": np.full(n, 1 - 2.0**-24), "top_k": np.full(n, codes)}
    np.testing.assert_array_equal(
        run(draw_session(filtered=True, codes=codes), **inputs),
        run(draw_session(filtered=False, codes=codes), **inputs),
    )
