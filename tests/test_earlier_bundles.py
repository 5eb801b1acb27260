"""Bundles of earlier manifest versions: they open, draw the same codes, and refuse filters that they do not have."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from command_line import run

from latentloop import Bundle, InputError, Sampler, sample_best


@pytest.fixture(scope="module")
def version_3(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small bundle as version 3 of the manifest described it: without min-p."""
    path = shutil.copytree(small_bundle, tmp_path_factory.mktemp("bundles") / "version-3")
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["version"] = 3
    for level in manifest["levels"]:
        prior = level["prior"]
        prior["memories"] = [buffer for buffer in prior["memories"] if buffer["name"] != "min_p"]
        for graph in prior["graphs"].values():
            graph["inputs"] = [binding for binding in graph["inputs"] if binding["name"] != "min_p"]
            _without_min_p(path / graph["file"])
    for name, record in manifest["files"].items():
        content = (path / name).read_bytes()
        record.update(size=len(content), sha256=hashlib.sha256(content).hexdigest())
    (path / "manifest.json").write_text(json.dumps(manifest))
    return path


def _without_min_p(file: Path) -> None:
    """Replaces the graph's input ``min_p``, if it has one, by the constant 0."""
    model = onnx.load(file, load_external_data=False)
    for value in model.graph.input:
        if value.name == "min_p":
            model.graph.input.remove(value)
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(1, np.float32), "min_p"))
            onnx.save(model, file)


@pytest.mark.parametrize("settings", [{}, {"top_k": 3, "top_p": 0.9, "temperature": 0.8}, {"min_p": 0}], ids=str)
def test_draws_the_same_codes(small_bundle: Path, version_3: Path, settings: dict[str, Any]) -> None:
    now, earlier = (Sampler(Bundle.open(path), threads=1) for path in (small_bundle, version_3))
    expected, actual = (sampler.sample(3, seeds=5, **settings).codes for sampler in (now, earlier))
    for name, codes in expected.items():
        np.testing.assert_array_equal(actual[name], codes)


def test_refuses_min_p_by_name(version_3: Path, tmp_path: Path, fails: Callable[..., str]) -> None:
    sampler = Sampler(Bundle.open(version_3), threads=1)
    message = "min_p for bottom: the bundle has no such filter, because an earlier release exported it: export it again"
    with pytest.raises(InputError, match=message):
        sampler.sample(1, min_p={"bottom": 0.1})
    with pytest.raises(InputError, match=message):
        sample_best(sampler, 1, keep=0.5, min_p={"bottom": 0.1})
    common = ("sample", "--bundle", version_3, "--out", tmp_path / "a.png")
    assert message in fails(2, *common, "--min-p", "bottom=0.1")
    assert run(*common, "--min-p", "0") == 0


def test_a_filter_of_a_level_that_is_given_needs_no_state_buffer(version_3: Path) -> None:
    sampler = Sampler(Bundle.open(version_3), threads=1)
    codes = sampler.sample(1, seeds=1).codes
    again = sampler.sample(1, given=codes, min_p=0.5)
    np.testing.assert_array_equal(again.codes["bottom"], codes["bottom"])
