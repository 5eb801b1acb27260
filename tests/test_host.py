"""The host of docs/host.md draws the golden codes and the samples of every kind of bundle, and the page is true."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from every_bundle import NAMES, SEEDS, bundle_folder, given_codes

from latentloop import Bundle, Sampler
from latentloop.backends.cpu.loop import PriorLoop
from latentloop.backends.cpu.session import bundle_session
from latentloop.bundles.manifest import Level, Prior
from latentloop.bundles.views import initial_values
from latentloop.draws.level_inputs import LevelInputs
from latentloop.draws.settings import SETTINGS
from latentloop.draws.uniforms import philox, uniforms

PAGE = (Path(__file__).parents[1] / "docs" / "host.md").read_text(encoding="utf-8")
DRAWS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.7},
    {"top_k": 3, "top_p": 0.9},
    {"min_p": 0.2, "temperature": 2.0},
]


@pytest.fixture(scope="module")
def host() -> dict[str, Any]:
    """The names that the page's code defines. It imports NumPy and ONNX Runtime alone."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert set(re.findall(r"^(?:import|from) (\w+)", code, re.MULTILINE)) == {"json", "pathlib", "numpy", "onnxruntime"}
    names: dict[str, Any] = {}
    exec(code, names)
    names["session"] = functools.cache(names["session"])  # loading the graphs takes longer than the draws
    return names


@pytest.fixture(scope="module", params=NAMES)
def bundle(request: pytest.FixtureRequest, small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.open(bundle_folder(request.param, small_bundle, tmp_path_factory))


def test_draws_the_golden_codes(host: dict[str, Any], bundle: Bundle) -> None:
    manifest = host["json"].loads((bundle.path / "manifest.json").read_text())
    golden = bundle.golden()
    for number, level in enumerate(bundle.manifest.levels):
        if level.prior is None:
            continue
        array = {key: golden[f"{level.name}.{key}"] for key in ("seeds", "codes")}
        inputs = {key: golden[f"{level.name}.{key}"] for key in ("labels", "upper") if f"{level.name}.{key}" in golden}
        if "upper" in inputs:
            inputs["upper"] = inputs["upper"].transpose(1, 2, 0)
        free = np.full((len(array["seeds"]), level.height, level.width), -1)
        # With and without filters: the initial values of the settings are neutral, so both draw the same codes.
        for written in (inputs, {**inputs, "min_p": 0}):
            codes = host["draw"](bundle.path, manifest, number, array["seeds"], free, written)
            np.testing.assert_array_equal(codes[:, : array["codes"].shape[1]], array["codes"])


def test_samples_equal_the_samplers(host: dict[str, Any], bundle: Bundle) -> None:
    sampler = Sampler(bundle, "cpu", threads=1)
    labels = [2, 0, 1] if bundle.manifest.classes else None
    written = {} if labels is None else {"labels": labels}
    given = given_codes(bundle, len(SEEDS))
    for settings in DRAWS:
        samples = sampler.sample(len(SEEDS), seeds=SEEDS, labels=labels, given=given, **settings)
        codes, images = host["sample"](bundle.path, SEEDS, given=given, settings=settings, **written)
        for name, values in samples.codes.items():
            np.testing.assert_array_equal(codes[name], values, err_msg=f"{name} {settings}")
        assert np.abs(images.astype(int) - samples.images).max() <= 1
        assert (images == samples.images).mean() > 0.99


def test_int8_and_given_codes(host: dict[str, Any], bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    # The native operators round int8 products of rows once more, so codes can differ from those of the definitions.
    monkeypatch.setattr("latentloop.backends.cpu.session.operators", lambda: None)
    sampler = Sampler(Bundle.open(bundle.path), "cpu", threads=1, precision="int8")
    labels = [2, 0, 1] if bundle.manifest.classes else None
    given = given_codes(bundle, len(SEEDS))
    level = bundle.manifest.levels[-1]
    count = level.height * level.width
    part = np.where(np.arange(count) < count // 2 + 1, np.arange(count) % level.codebook_size, -1)
    given[level.name] = np.stack([part.reshape(level.height, level.width)] * len(SEEDS))
    expected = sampler.sample(len(SEEDS), seeds=SEEDS, labels=labels, given=given).codes
    written = {} if labels is None else {"labels": labels}
    codes, _ = host["sample"](bundle.path, SEEDS, given=given, precision="int8", **written)
    for name, values in expected.items():
        np.testing.assert_array_equal(codes[name], values, err_msg=name)


def test_the_table_of_random_numbers(host: dict[str, Any]) -> None:
    rows = re.findall(
        r"^\| (0|7|2⁶⁴ − 1) \| (\d+) \| (\d+) \| (\d+), (\d+) \| (\w{8}) \| (\d+) \|$", PAGE, re.MULTILINE
    )
    assert len(rows) == 3
    for text, *numbers, word, u in rows:
        seed = 2**64 - 1 if text.startswith("2") else int(text)
        level, width, i, j = map(int, numbers)
        key, counter = np.array([seed % 2**32, seed >> 32]), np.array([i * width + j, level, 0, 0])
        assert philox(counter.astype(np.uint32), key.astype(np.uint32))[0] == int(word, 16)
        for source in (uniforms, host["uniforms"]):
            assert source(np.array([seed], np.uint64), level, i + 1, width)[i, j, 0] == int(u) / 2**24


def priors(bundle: Bundle) -> Iterator[tuple[Level, Prior]]:
    """Yields the levels that have a prior, and the prior."""
    for level in bundle.manifest.levels:
        if level.prior is not None:
            yield level, level.prior


def test_a_host_knows_no_other_state_buffers(bundle: Bundle) -> None:
    table = PAGE.split("buffers by name:")[1].split("`fill` holds")[0]
    named = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    for level, prior in priors(bundle):
        fills = {buffer.name: buffer.fill for buffer in prior.memories}
        by_graphs = {binding.memory for graph in prior.graphs.values() for binding in graph.outputs}
        assert fills.keys() - by_graphs - named == {"row", "column"}
        assert fills["row"] == fills["column"] == "index"
        assert (fills["forced"], fills["codes"]) == (-1, level.codebook_size)
        assert [fills[name] for name in SETTINGS] == [1, level.codebook_size, 1, 0]


def test_rings_are_as_the_table_says(bundle: Bundle) -> None:
    for level, prior in priors(bundle):
        rings = {buffer.name: (int(buffer.shape[0]), buffer.padding) for buffer in prior.memories if buffer.ring}
        rows, p = rings["codes"]
        assert rings == {"codes": (rows, p), "residual": (rows, p + 1), "hidden": (rows, p), "conv1_above": (2, 1)}
        assert rows == 2 * p
        loop = PriorLoop(level, prior, lambda file: bundle_session(bundle, file, 1), 1)
        upper = next((buffer.shape for buffer in prior.memories if buffer.name == "upper"), None)
        inputs = LevelInputs(
            uniform=uniforms(np.array([3], np.uint64), 0, level.height, level.width),
            forced=np.full((level.height, level.width, 1), -1),
            upper=None if upper is None else np.zeros((1, *map(int, upper[:2])), np.int64),
            labels=np.zeros(1, np.int64),
        )
        for _ in loop.rows(inputs):
            for buffer in prior.memories:
                if buffer.ring:
                    values, last = loop.buffer(buffer.name), level.width + buffer.padding
                    assert (values[:, : buffer.padding] == buffer.fill).all()
                    assert (values[:, last:] == buffer.fill).all()


def test_outputs_share_memory_with_inputs_only_as_the_table_says(host: dict[str, Any], bundle: Bundle) -> None:
    for level, prior in priors(bundle):
        arrays = {buffer.name: initial_values(buffer, 1) for buffer in prior.memories}
        buffers = {buffer.name: asdict(buffer) for buffer in prior.memories}
        shared: set[tuple[str, str, str]] = set()
        for role, graph in prior.graphs.items():
            for i in range(level.height):
                for j in range(0, level.width, prior.columns_per_step) if "step" in role else [0]:
                    of_inputs, of_outputs = (
                        {b.name: host["view"](arrays[b.memory], buffers[b.memory], asdict(b), i, j) for b in bindings}
                        for bindings in (graph.inputs, graph.outputs)
                    )
                    shared |= {
                        (role.partition("_")[0], output.partition(".")[0], name.partition(".")[0])
                        for output, written in of_outputs.items()
                        for name, read in of_inputs.items()
                        if np.shares_memory(written, read)
                    }
        expected: set[tuple[str, str, str]] = set()
        if "conv1_partial" in arrays:
            assert len(arrays["codes"]) == 4
            expected |= {("row", f"conv{n}_partial_next", f"conv{n}_partial") for n in (1, 2)}
        if "keys.0" in arrays:
            expected |= {("step", f"row_{kind}_next", f"row_{kind}") for kind in ("keys", "values")}
        assert shared == expected
