"""Bundles with a classifier in ONNX: exported, described and used like any other, also by the C library."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from bench_bundles import NAMES, write_class_folders
from command_line import run
from conftest import vqvae_checkpoint
from embedded import Library, installed_library
from onnx_models import fixed_model, noise, save, small_model
from random_models import CLASSES, SMALL, plain_weights, random_prior

from latentloop import Bundle, Sampler, sample_best
from latentloop.bench.figures.result_files import read_result
from latentloop.export.bundle import BundleSource, write_bundle
from latentloop.export.checkpoints.checkpoint import Checkpoint, save_checkpoint
from latentloop.export.configuration import PriorConfig
from latentloop.export.onnx_classifiers.model import read_onnx
from latentloop.export.onnx_classifiers.settings import PRESETS, ClassifierSettings
from latentloop.sampling.verification import verify

MAP = {"ice": [3, 0], "lava": 1, "ocean": 4}


def write_checkpoints(folder: Path) -> list[str]:
    """Writes a VQ-VAE and priors for RGB images of 16 x 16, and returns the options that name them."""
    codes: dict[str, Any] = {"condition_codes": 11, "condition_channels": 6, "condition_blocks": 1}
    save_checkpoint(folder / "vqvae.safetensors", vqvae_checkpoint(image_channels=3))
    for name, side, more in (("top", 2, {}), ("bottom", 4, codes)):
        config = PriorConfig(side, side, kernel=3, attention=False, **more, **CLASSES, **SMALL)
        weights = {key: value.astype(np.float32) for key, value in plain_weights(random_prior(config)).items()}
        save_checkpoint(folder / f"{name}.safetensors", Checkpoint(config, weights))
    options = [f"--{name}={folder / name}.safetensors" for name in ("vqvae", "top", "bottom")]
    return [*options, f"--class-names={','.join(NAMES)}"]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return write_checkpoints(tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of five classes, and its settings in a file beside it."""
    folder = tmp_path_factory.mktemp("judge")
    (folder / "settings.json").write_text(json.dumps({"order": "BGR", "filter": "bicubic", "classes": MAP}))
    return save(folder / "judge.onnx", small_model(classes=5))


@pytest.fixture(scope="module", params=["float32", "float16"])
def bundle(
    request: pytest.FixtureRequest, checkpoints: list[str], judge: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp(request.param) / "bundle"
    options = ("--classifier-preset", "imagenet", "--classifier-settings", judge.with_name("settings.json"))
    weights = ("--weights", request.param)
    assert run("export", *checkpoints, "--classifier", judge, *options, *weights, "--card", "--out", out) == 0
    return out


def test_the_bundle_verifies_and_classifies(bundle: Path, judge: Path) -> None:
    sampler = Sampler(Bundle.open(bundle), threads=1)
    checks = [*verify(sampler)]
    assert all(check.passed for check in checks)
    assert {"classify: probabilities", "classify: features, of max(1, max |feature|)"} <= {each.name for each in checks}
    images = noise(19, (16, 16, 3))  # more than a batch
    result = sampler.classify(images)
    assert result.features.shape == (19, 300)
    assert result.probabilities.std(0).min() > 1e-3
    best = sample_best(sampler, 6, keep=0.5, seeds=3)
    again = sampler.sample(1, seeds=best.samples.seeds[:1], labels=[0])
    np.testing.assert_array_equal(again.images[0], best.samples.images[0])


def test_the_weights_are_in_the_bundles_file_and_not_rounded(bundle: Path, judge: Path) -> None:
    original = {each.name: onnx.numpy_helper.to_array(each) for each in onnx.load(judge).graph.initializer}
    inside = onnx.load(bundle / "classifier.onnx", load_external_data=False).graph.initializer
    external = {each.name for each in inside if each.external_data}
    assert {"classifier.model.kernel", "classifier.model.linear"} <= external
    assert (bundle / "classifier.onnx").stat().st_size < 10_000
    for tensor in onnx.load(bundle / "classifier.onnx").graph.initializer:
        if (name := tensor.name.removeprefix("classifier.model.")) in original:
            np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensor), original[name])


def test_the_origin_is_shown(bundle: Path, judge: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digest = hashlib.sha256(judge.read_bytes()).hexdigest()
    recorded = Bundle.open(bundle).manifest.provenance["models"]["classifier"]
    assert (recorded["file"], recorded["sha256"], recorded["layout"]) == ("judge.onnx", digest, "ONNX")
    settings = recorded["configuration"]
    assert settings["classes"] == {"ice": [3, 0], "lava": [1], "ocean": [4]}
    assert (settings["order"], settings["filter"], settings["size"]) == ("BGR", "bicubic", [12, 10])
    assert settings["mean"] == list(PRESETS["imagenet"].mean or ())
    assert run("info", "--bundle", bundle) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert f"classifier's file judge.onnx, SHA-256 {digest}" in lines
    card = (bundle / "README.md").read_text()
    assert "- Classifier, to select samples: judge.onnx, attached as ONNX." in card
    assert f"| classifier | judge.onnx | {digest[:11]}… | ONNX |" in card


def test_the_c_library_chooses_the_same(bundle: Path) -> None:
    sampler = Sampler(Bundle.open(bundle), threads=1)
    ours = Library(installed_library()).open(bundle).sampler(threads=1)
    images = noise(19, (16, 16, 3))
    np.testing.assert_allclose(ours.classify(images), sampler.classify(images).probabilities, rtol=0, atol=1e-6)
    labels = [0, 1, 2, 1]
    best = sample_best(sampler, 4, keep=0.25, labels=labels, seeds=5, batch_size=4)
    kept = ours.sample_best(4, 4, labels=labels, seeds=5, batch=4)
    np.testing.assert_array_equal(kept["seeds"], best.samples.seeds)
    np.testing.assert_array_equal(kept["images"], best.samples.images)
    np.testing.assert_allclose(kept["confidence"], best.confidence, rtol=1e-5)


def test_without_features_figures_of_features_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "settings.json").write_text('{"features": false}')
    options = ("--classifier-preset=unit", "--classifier-settings", tmp_path / "settings.json")
    judge = save(tmp_path / "judge.onnx", fixed_model(1))
    assert (
        run("export", *write_checkpoints(tmp_path), "--classifier", judge, *options, "--out", tmp_path / "bundle") == 0
    )
    sampler = Sampler(Bundle.open(tmp_path / "bundle"), threads=1)
    assert all(check.passed for check in verify(sampler))
    for n in (0, 3):
        assert sampler.classify(noise(n, (16, 16, 3))).features.shape == (n, 0)
    ours, images = Library(installed_library()).open(tmp_path / "bundle").sampler(), noise(3, (16, 16, 3))
    np.testing.assert_allclose(ours.classify(images), sampler.classify(images).probabilities, rtol=0, atol=1e-6)
    write_class_folders(tmp_path / "data", training=12, held_out=12)
    common = ("--bundle", tmp_path / "bundle", "--data", tmp_path / "data", "--samples", 12, "--threads", 1)
    capsys.readouterr()
    assert run("bench", "samples", *common, "--out", tmp_path / "figures.json") == 0
    assert "The bundle's classifier has no features: no Fréchet distance" in capsys.readouterr().out
    result = read_result(tmp_path / "figures.json", "samples")
    assert (result["likeness"], [*result["novelty"]]) == (None, ["pixels"])
    assert 0 <= result["recognition"]["samples"]["accuracy"] <= 1


def test_the_python_interface(judge: Path, tmp_path: Path) -> None:
    config = PriorConfig(4, 4, kernel=3, attention=False, **CLASSES, **SMALL)
    source = BundleSource(
        vqvae_checkpoint(image_channels=3),
        [None, Checkpoint(config, plain_weights(random_prior(config)))],
        classes=NAMES,
        classifier=read_onnx(judge),
        classifier_settings=ClassifierSettings(classes=("ice", "lava", None, "ice", "ocean")).over(
            PRESETS["symmetric"]
        ),
    )
    write_bundle(tmp_path / "bundle", source)
    assert all(check.passed for check in verify(Sampler(Bundle.open(tmp_path / "bundle"), threads=1)))


def test_what_is_refused_is_refused_before_anything_is_written(
    checkpoints: list[str], judge: Path, tmp_path: Path, fails: Callable[..., str]
) -> None:
    out = ("--out", tmp_path / "bundle")
    message = fails(2, "export", *checkpoints, "--classifier", judge, *out)
    assert "judge.onnx: the values of its pixels are not known (scale, mean, std): name those" in message
    message = fails(2, "export", *checkpoints, "--classifier", judge, "--classifier-preset=unit", *out)
    assert "its output 'logits' has 5 classes, the bundle 3 (ice, lava, ocean)" in message
    message = fails(2, "export", *checkpoints, "--classifier-preset=unit", *out)
    assert "--classifier-preset is for a classifier in ONNX (--classifier), which is not given" in message
    own = checkpoints[0].removeprefix("--vqvae=")
    settings = ("--classifier-settings", judge.with_name("settings.json"))
    assert f"{own} is none: leave it out" in fails(2, "export", *checkpoints, "--classifier", own, *settings, *out)
    for name, content, reason in (("missing", None, "No such file"), ("empty", b"", "it has no graph")):
        damaged = tmp_path / f"{name}.onnx"
        if content is not None:
            damaged.write_bytes(content)
        message = fails(1, "export", *checkpoints, "--classifier", damaged, "--classifier-preset=unit", *out)
        assert damaged.name in message
        assert reason in message
    codec = fails(2, "export", checkpoints[0], "--image=16x16", "--classifier", judge, "--classifier-preset=unit", *out)
    assert "a classifier needs priors with classes" in codec
    assert not (tmp_path / "bundle").exists()
