"""The classifier: its graph compared with the model in float64, in a bundle, in a sampler, and on export."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from command_line import run
from conftest import vqvae_checkpoint
from corrupted_bundles import edit_manifest, read_manifest, replace_file, scale_weight
from cpu_sessions import cpu_session
from random_models import CLASSES, SMALL, plain_weights, random_classifier, random_prior

from latentloop import Bundle, BundleError, CheckpointError, InputError, Sampler
from latentloop.export.bundle.checks import check_classifier
from latentloop.export.bundle.files import write_graphs
from latentloop.export.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from latentloop.export.configuration import ClassifierConfig, PriorConfig, VqvaeConfig
from latentloop.export.graphs.builder import WeightStore
from latentloop.export.graphs.classifier import classifier_graph
from latentloop.export.layouts.reading import read_classifier, read_prior
from latentloop.export.models.build import build_classifier
from latentloop.sampling.verification import verify

CONFIGS = {
    "default": ClassifierConfig(height=24, width=24, classes=5),
    "grey-odd-deep": ClassifierConfig(
        height=9, width=13, classes=2, image_channels=1, channels=6, stages=2, residual_blocks=2, groups=3
    ),
    "smallest": ClassifierConfig(height=8, width=8, classes=3, channels=4, stages=5, groups=1),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_graph_equals_the_model(name: str, tmp_path: Path) -> None:
    config, store = CONFIGS[name], WeightStore()
    model = random_classifier(config)
    write_graphs(tmp_path, {"c.onnx": classifier_graph(config, plain_weights(model), store)}, store)
    shape = (3, config.height, config.width, config.image_channels)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    outputs = cpu_session(tmp_path / "c.onnx", threads=1).run({"images": images})
    with torch.no_grad():
        logits, features = model.double()(torch.from_numpy(images).double().permute(0, 3, 1, 2) / 127.5 - 1)
    assert features.shape == (3, config.features)
    assert logits.std(0).min() > 1e-3  # otherwise the comparison would be trivial
    np.testing.assert_allclose(outputs["features"], features, atol=1e-5 * float(features.max()))
    np.testing.assert_allclose(outputs["probabilities"], torch.softmax(logits, 1), atol=1e-5)


def test_the_default_has_about_300_000_parameters() -> None:
    config = ClassifierConfig(height=64, width=64, classes=8)
    assert config.features == 128
    assert 200_000 < sum(value.numel() for value in random_classifier(config).parameters()) < 400_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height": 7}, "height is 7, expected at least 8"),
        ({"classes": 1}, "classes is 1, expected at least 2"),
        ({"channels": 12}, r"channels is 12, expected a multiple of groups \(8\)"),
        ({"groups": 0}, "groups is 0, expected at least 1"),
        ({"stages": 9}, "stages is 9, expected at most 8"),
    ],
)
def test_invalid_configurations(change: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ClassifierConfig(**{"height": 8, "width": 8, "classes": 2, **change})


def small_checkpoint(**changes: Any) -> Checkpoint:
    """Returns a classifier that fits the small bundle, except for ``changes`` of its configuration."""
    fields: dict[str, Any] = {"height": 32, "width": 48, "classes": 3, "channels": 4, "stages": 2, "groups": 2}
    config = ClassifierConfig(**(fields | changes))
    return Checkpoint(config, plain_weights(random_classifier(config)), {"note": "kept"})


def test_a_saved_checkpoint_is_read_back_unchanged(tmp_path: Path) -> None:
    checkpoint = small_checkpoint()
    save_checkpoint(tmp_path / "c.safetensors", checkpoint)
    read = read_classifier(tmp_path / "c.safetensors")
    digest = hashlib.sha256((tmp_path / "c.safetensors").read_bytes()).hexdigest()
    assert (read.kind, read.config) == ("classifier", checkpoint.config)
    assert read.provenance == {"note": "kept", "file": "c.safetensors", "sha256": digest}
    again = plain_weights(build_classifier(read, "c"))
    for name, value in checkpoint.weights.items():
        np.testing.assert_array_equal(again[name], value)


def test_checkpoints_of_another_kind_are_errors(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c.safetensors", small_checkpoint())
    with pytest.raises(CheckpointError, match="holds a classifier, expected a prior"):
        read_prior(tmp_path / "c.safetensors")
    vqvae = VqvaeConfig(channels=2)
    with pytest.raises(CheckpointError, match="v holds a VQ-VAE, expected a classifier"):
        build_classifier(Checkpoint(vqvae, {}), "v")
    with pytest.raises(CheckpointError, match=r"cannot read .*c\.pt: No such file"):
        read_classifier(tmp_path / "c.pt")
    broken = dataclasses.replace(small_checkpoint(), weights={})
    save_checkpoint(tmp_path / "broken.safetensors", broken)
    assert load_checkpoint(tmp_path / "broken.safetensors").kind == "classifier"
    with pytest.raises(CheckpointError, match=r"broken\.safetensors: \d+ tensors do not fit"):
        read_classifier(tmp_path / "broken.safetensors")


@pytest.mark.parametrize(
    ("change", "classes", "message"),
    [
        ({"height": 48}, 3, "accepts images of 48 x 48 x 3, the bundle's are 32 x 48 x 3"),
        ({"image_channels": 1}, 3, "accepts images of 32 x 48 x 1, the bundle's are 32 x 48 x 3"),
        ({"classes": 4}, 3, "has 4 classes, the priors 3"),
        ({}, 0, "needs priors with classes"),
    ],
)
def test_a_classifier_that_does_not_fit_the_bundle(change: dict[str, int], classes: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_classifier(small_checkpoint(**change), (32, 48), VqvaeConfig(), classes)


def test_a_sampler_classifies_any_number_of_images(small_bundle: Path) -> None:
    sampler = Sampler(Bundle.open(small_bundle), threads=1)
    images = np.random.default_rng(0).integers(0, 256, (19, 32, 48, 3), dtype=np.uint8)  # more than one batch
    result = sampler.classify(images)
    model = build_classifier(small_checkpoint(), "small").double()
    with torch.no_grad():
        logits, features = model(torch.from_numpy(images).double().permute(0, 3, 1, 2) / 127.5 - 1)
    np.testing.assert_allclose(result.probabilities, torch.softmax(logits, 1), atol=1e-5)
    np.testing.assert_allclose(result.features, features, atol=1e-5 * float(features.max()))
    assert result.probabilities.dtype == result.features.dtype == np.float32
    none = sampler.classify(images[:0])
    assert (none.probabilities.shape, none.features.shape) == ((0, 3), (0, 8))
    with pytest.raises(InputError, match="images have dtype float64"):
        sampler.classify(images / 255)


def test_a_bundle_without_a_classifier_is_an_error(grey_bundle: Path) -> None:
    assert "classifier" not in read_manifest(grey_bundle)
    with pytest.raises(InputError, match=r"grey has no classifier: .* export the bundle again with --classifier FILE"):
        Sampler(Bundle.open(grey_bundle)).classify(np.zeros((1, 16, 16, 1), np.uint8))


@pytest.fixture
def copy(small_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_bundle, tmp_path / "copy"))


def classify(folder: Path) -> None:
    Sampler(Bundle.open(folder), threads=1).classify(np.zeros((1, 32, 48, 3), np.uint8))


def test_a_bundle_works_without_its_classifier(copy: Path) -> None:
    manifest = read_manifest(copy)
    del manifest["classifier"]
    for key, value in (("classifier", None), ("files", {k: v for k, v in manifest["files"].items() if k[0] != "c"})):
        edit_manifest(copy, key, value=value)
    (copy / "classifier.onnx").unlink()
    assert Sampler(Bundle.open(copy), threads=1).sample(1, seeds=1).images.shape == (1, 32, 48, 3)
    with pytest.raises(InputError, match="has no classifier"):
        classify(copy)


def test_a_graph_that_is_not_a_classifier_is_an_error(copy: Path) -> None:
    original = (copy / "classifier.onnx").read_bytes()
    replace_file(copy, "classifier.onnx", original[: len(original) // 2])
    with pytest.raises(BundleError, match=r"classifier\.onnx: ONNX Runtime cannot load it"):
        classify(copy)
    replace_file(copy, "classifier.onnx", (copy / "encoder.onnx").read_bytes())
    with pytest.raises(BundleError, match=r"classifier\.onnx: the classifier's outputs are top, bottom, expected"):
        classify(copy)
    replace_file(copy, "classifier.onnx", original)
    scale_weight(copy, "classifier.onnx", "classifier.logits.weight", np.nan)
    with pytest.raises(BundleError, match=r"classifier\.onnx: results that are not finite"):
        classify(copy)


def test_results_of_another_shape_are_an_error(copy: Path) -> None:
    model = onnx.load(copy / "classifier.onnx", load_external_data=False)
    softmax = next(node for node in model.graph.node if node.op_type == "Softmax")
    softmax.output[0] = "original"
    model.graph.node.append(onnx.helper.make_node("Compress", ["original", "kept"], ["probabilities"], axis=1))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([True, True, False]), "kept"))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "classes"
    replace_file(copy, "classifier.onnx", model.SerializeToString())
    with pytest.raises(BundleError, match=r"gives \[1, 2\] and \[1, 8\] for 1 images of 3 classes"):
        classify(copy)


def append_to_output(folder: Path, output: int, *nodes: onnx.NodeProto, kind: int = onnx.TensorProto.FLOAT) -> None:
    """Renames an output to ``original``, and appends nodes that compute the output from it."""
    model = onnx.load(folder / "classifier.onnx", load_external_data=False)
    result = model.graph.output[output]
    for node in model.graph.node:
        for values in (node.input, node.output):
            values[:] = ["original" if value == result.name else value for value in values]
    model.graph.node.extend(nodes)
    result.type.tensor_type.elem_type = kind
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(255, np.float32), "many"))
    replace_file(folder, "classifier.onnx", model.SerializeToString())


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (onnx.TensorProto.STRING, "string"),
        (onnx.TensorProto.DOUBLE, "double"),
        (onnx.TensorProto.INT64, "int64"),
        (onnx.TensorProto.FLOAT16, "float16"),
    ],
)
@pytest.mark.parametrize("output", [0, 1])
def test_results_of_another_type_are_an_error(copy: Path, output: int, kind: int, message: str) -> None:
    name = ("probabilities", "features")[output]
    append_to_output(copy, output, onnx.helper.make_node("Cast", ["original"], [name], to=kind), kind=kind)
    with pytest.raises(
        BundleError, match=rf"the classifier's {name} is {message} \['batch', \d\], expected .* float32"
    ):
        classify(copy)


@pytest.mark.parametrize("operator", ["Mul", "Div", "Sub"])
def test_invalid_probabilities_are_an_error(copy: Path, operator: str) -> None:
    append_to_output(copy, 0, onnx.helper.make_node(operator, ["original", "many"], ["probabilities"]))
    with pytest.raises(
        BundleError, match=r"probabilities from .* to .* whose sums are .*, expected 0 to 1 and sums of"
    ):
        classify(copy)


@pytest.mark.parametrize(
    ("value", "message"), [("missing.onnx", r"does not list missing\.onnx"), (3, r"classifier is 3, expected a string")]
)
def test_a_manifest_with_an_invalid_classifier(copy: Path, value: object, message: str) -> None:
    edit_manifest(copy, "classifier", value=value)
    with pytest.raises(BundleError, match=message):
        Bundle.open(copy)


def test_info_states_whether_the_bundle_has_a_classifier(
    small_bundle: Path, grey_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for bundle, shown in ((small_bundle, "yes"), (grey_bundle, "none")):
        assert run("info", "--bundle", bundle) == 0
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert ["classifier", shown] in lines


def test_export_with_a_classifier(tmp_path: Path, fails: Callable[..., str]) -> None:
    priors = {
        "top": PriorConfig(2, 2, kernel=3, **CLASSES, **SMALL),
        "bottom": PriorConfig(4, 4, kernel=3, attention=False, **CLASSES, **SMALL),
    }
    save_checkpoint(tmp_path / "vqvae.safetensors", vqvae_checkpoint(image_channels=1))
    for name, config in priors.items():
        weights = {key: value.astype(np.float32) for key, value in plain_weights(random_prior(config)).items()}
        save_checkpoint(tmp_path / f"{name}.safetensors", Checkpoint(config, weights))
    save_checkpoint(tmp_path / "c.safetensors", small_checkpoint(height=16, width=16, image_channels=1))
    save_checkpoint(tmp_path / "four.safetensors", small_checkpoint(height=16, width=16, image_channels=1, classes=4))
    save_checkpoint(tmp_path / "large.safetensors", small_checkpoint(height=32, width=32, image_channels=1))
    files = [f"--{name}={tmp_path / name}.safetensors" for name in ("vqvae", *priors)]
    common = ("export", *files, "--out", tmp_path / "bundle", "--classifier")
    for name, message in (
        ("four", "has 4 classes, the priors 3: train one on the priors' data"),
        ("large", "accepts images of 32 x 32 x 1, the bundle's are 16 x 16 x 1: train one on images of this size, or"),
    ):
        assert f"{tmp_path / name}.safetensors {message}" in fails(2, *common, tmp_path / f"{name}.safetensors")
    assert "holds a VQ-VAE, expected a classifier" in fails(1, *common, tmp_path / "vqvae.safetensors")
    assert not (tmp_path / "bundle").exists()
    assert run(*common, tmp_path / "c.safetensors") == 0
    bundle = Bundle.open(tmp_path / "bundle")
    assert bundle.manifest.classifier == "classifier.onnx"
    assert bundle.manifest.provenance["models"]["classifier"]["note"] == "kept"
    assert all(check.passed for check in verify(Sampler(bundle, threads=1)))
