"""Bundles and engines of earlier versions: they open, draw the same codes, and refuse filters that they do not have."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from command_line import run

from latentloop import Bundle, InputError, Sampler, sample_best
from latentloop.draws.draw_settings import DrawSettings
from latentloop.engines.engine_set_checks import check_contents
from latentloop.engines.engine_set_reading import from_json, read_engines
from latentloop.sampling.validation import check_filters
from latentloop.sampling.verification import verify


def _with_earlier_fills(manifest: Any, version: int) -> Any:
    """Changes the manifest of a bundle or of engines to a version in which loops had to know the initial values."""
    manifest["version"] = version
    for level in manifest["levels"]:
        for buffer in level["prior"]["memories"]:
            if buffer["name"] != "codes":
                buffer["fill"] = 0
    return manifest


@pytest.fixture(scope="module")
def version_4(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small bundle as version 4 of the manifest described it: with the initial value 0 of most state buffers, and
    without a codeword for codes that are not drawn.
    """
    path = shutil.copytree(small_bundle, tmp_path_factory.mktemp("bundles") / "version-4")
    manifest = json.loads((path / "manifest.json").read_text())
    del manifest["undrawn_codeword"]
    (path / "manifest.json").write_text(json.dumps(_with_earlier_fills(manifest, 4)))
    return path


@pytest.fixture(scope="module")
def version_3(version_4: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small bundle as version 3 of the manifest described it: also without min-p."""
    path = shutil.copytree(version_4, tmp_path_factory.mktemp("bundles") / "version-3")
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
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(1, np.float32), "zero"))
            model.graph.node.insert(0, onnx.helper.make_node("Mul", ["top_p", "zero"], ["min_p"]))
            onnx.save(model, file)


@pytest.mark.parametrize("settings", [{}, {"top_k": 3, "top_p": 0.9, "temperature": 0.8}, {"min_p": 0}], ids=str)
def test_draws_the_same_codes(small_bundle: Path, version_4: Path, version_3: Path, settings: dict[str, Any]) -> None:
    expected = Sampler(Bundle.open(small_bundle), threads=1).sample(3, seeds=5, **settings).codes
    for path in (version_4, version_3):
        actual = Sampler(Bundle.open(path), threads=1).sample(3, seeds=5, **settings).codes
        for name, codes in expected.items():
            np.testing.assert_array_equal(actual[name], codes)


def test_verifies(version_4: Path, version_3: Path) -> None:
    for path, has_min_p in ((version_4, True), (version_3, False)):
        checks = list(verify(Sampler(Bundle.open(path), threads=1)))
        assert all(check.passed for check in checks)
        assert any("min_p" in check.name for check in checks) == has_min_p
        assert not any("half-drawn" in check.name for check in checks)


def test_a_version_without_initial_values_reads_as_the_version_with_them(small_bundle: Path, version_4: Path) -> None:
    now = Bundle.open(small_bundle).manifest
    assert Bundle.open(version_4).manifest == replace(now, undrawn_codeword=None)
    buffers = {buffer.name: buffer.fill for buffer in Bundle.open(version_4).manifest.priors("float32")["top"].memories}
    assert (buffers["row"], buffers["column"], buffers["forced"]) == ("index", "index", -1)
    assert [buffers[name] for name in ("temperature", "top_k", "top_p", "min_p")] == [1, 11, 1, 0]


def test_engines_of_the_version_without_initial_values_are_used(version_4: Path, small_engines: Path) -> None:
    folder = small_engines / "engines"
    manifest = next(folder.glob("*/manifest.json"))
    now = read_engines(manifest.parent)
    assert now == from_json(_with_earlier_fills(json.loads(manifest.read_text()), 1), manifest.parent)
    check_contents(now, Bundle.open(version_4).manifest)


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


def test_a_state_buffer_that_no_step_reads_is_not_a_filter(version_3: Path, small_bundle: Path) -> None:
    manifests = [Bundle.open(path).manifest for path in (version_3, small_bundle)]
    old, new = (manifest.levels[1] for manifest in manifests)
    assert old.prior is not None
    assert new.prior is not None
    with_buffer = replace(old, prior=replace(old.prior, memories=new.prior.memories))
    settings = DrawSettings.of(1, min_p=0.1)
    check_filters(settings, new)
    with pytest.raises(InputError, match="min_p for bottom: the bundle has no such filter"):
        check_filters(settings, with_buffer)


def test_a_filter_of_a_level_that_is_given_needs_no_state_buffer(version_3: Path) -> None:
    sampler = Sampler(Bundle.open(version_3), threads=1)
    codes = sampler.sample(1, seeds=1).codes
    again = sampler.sample(1, labels=0, given=codes, min_p=0.5)
    np.testing.assert_array_equal(again.codes["bottom"], codes["bottom"])


def test_refuses_to_decode_codes_that_are_not_drawn(version_4: Path, tmp_path: Path, fails: Callable[..., str]) -> None:
    sampler = Sampler(Bundle.open(version_4), threads=1)
    codes = sampler.sample(2, seeds=1).codes
    assert sampler.decode(codes).shape == (2, 32, 48, 3)
    codes["bottom"][1, 7, 11] = -1
    message = "codes of bottom hold -1, which is not drawn: the bundle has no codeword for it, because an earlier"
    with pytest.raises(InputError, match=f"{message} release exported it: export it again"):
        sampler.decode(codes)
    np.savez(tmp_path / "codes.npz", top=codes["top"], bottom=codes["bottom"])
    assert message in fails(2, "decode", tmp_path / "codes.npz", "--bundle", version_4, "--out", tmp_path / "a.png")


def test_an_earlier_version_cannot_claim_a_codeword(small_bundle: Path, tmp_path: Path) -> None:
    path = shutil.copytree(small_bundle, tmp_path / "bundle")
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, "version": 5}))
    assert Bundle.open(path).manifest.undrawn_codeword is None
