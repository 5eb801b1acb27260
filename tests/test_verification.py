"""Verification: a valid bundle passes on this machine, and the check that fails names the wrong part."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from corrupted_bundles import replace_file, scale_weight

from latentloop import Bundle, BundleError, Sampler
from latentloop.bundles.manifest import graph_name
from latentloop.cli.program import main
from latentloop.sampling.verification import verify


@pytest.fixture
def copy(small_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_bundle, tmp_path / "copy"))


def failures(folder: Path) -> list[str]:
    return [check.name for check in verify(Sampler(Bundle.open(folder))) if not check.passed]


def test_a_valid_bundle_passes(small_bundle: Path) -> None:
    checks = list(verify(Sampler(Bundle.open(small_bundle), threads=1)))
    assert len(checks) == 2 + 2 + 2 + 2 * (3 + 1 + 4)
    assert all(check.passed for check in checks)


def test_a_bundle_without_priors_passes(grey_bundle: Path) -> None:
    checks = list(verify(Sampler(Bundle.open(grey_bundle))))
    assert {check.name.split(":")[0] for check in checks} == {"encode", "decode"}
    assert all(check.passed for check in checks)


@pytest.mark.parametrize(
    ("graph", "weight", "failed_check"),
    [
        ("top.step.onnx", "top.conv2_left", "top: logits"),
        ("bottom.row.onnx", "bottom.conv1_above.1", "bottom: logits"),
        ("bottom.condition.onnx", "bottom.condition.input.weight", "bottom: logits"),
        ("encoder.onnx", "vqvae.to_code.0.weight", "encode: top codes"),
        ("decoder.onnx", "vqvae.decoder.conv.weight", "decode: pixels"),
        ("classifier.onnx", "classifier.stages.1.0.skip.weight", "classify: features"),
        ("classifier.onnx", "classifier.logits.weight", "classify: probabilities"),
    ],
)
def test_a_wrong_weight_is_named(copy: Path, graph: str, weight: str, failed_check: str) -> None:
    scale_weight(copy, graph, weight, 1.5)
    failed = failures(copy)
    assert failed
    assert failed[0].startswith(failed_check)


def test_one_changed_weight_of_the_classifier_is_detected(copy: Path) -> None:
    model = onnx.load(copy / "classifier.onnx", load_external_data=False)
    tensor = next(t for t in model.graph.initializer if t.name == "classifier.stages.1.0.skip.weight")
    entries = {entry.key: entry.value for entry in tensor.external_data}
    data = bytearray((copy / entries["location"]).read_bytes())
    np.frombuffer(data, np.float32, 1, int(entries["offset"]))[0] += 1e-4
    replace_file(copy, entries["location"], bytes(data))
    assert "classify: features, of max(1, max |feature|)" in failures(copy)


def test_a_classifier_with_another_number_of_features_is_an_error(copy: Path) -> None:
    model = onnx.load(copy / "classifier.onnx", load_external_data=False)
    name = model.graph.output[1].name
    for node in model.graph.node:
        for values in (node.input, node.output):
            values[:] = ["original" if value == name else value for value in values]
    model.graph.node.append(onnx.helper.make_node("Concat", ["original", "original"], [name], axis=1))
    model.graph.output[1].type.tensor_type.shape.dim[1].dim_value = 16
    replace_file(copy, "classifier.onnx", model.SerializeToString())
    with pytest.raises(
        BundleError, match=r"classifier\.onnx: gives 16 features for an image, expected 8 as in the golden"
    ):
        failures(copy)


def test_a_wrong_draw_is_named(copy: Path) -> None:
    model = onnx.load(copy / "top.step.onnx", load_external_data=False)
    for node in model.graph.node:
        node.input[:] = ["reversed" if name == "uniform" else name for name in node.input]
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(1, np.float32), "one"))
    model.graph.node.insert(0, onnx.helper.make_node("Sub", ["one", "uniform"], ["reversed"]))
    replace_file(copy, "top.step.onnx", model.SerializeToString())
    assert failures(copy) == [
        "top: sampled codes that differ",
        "top: draws with temperature 0.1 outside their own logits' CDF interval",
    ]


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_filters_that_are_swapped_in_the_step_are_named(copy: Path, precision: str) -> None:
    file = f"bottom.{graph_name('step_filtered', precision)}.onnx"
    model = onnx.load(copy / file, load_external_data=False)
    other = {"top_p": "min_p", "min_p": "top_p"}
    for node in model.graph.node:
        node.input[:] = [other.get(name, name) for name in node.input]
    replace_file(copy, file, model.SerializeToString())
    checks = verify(Sampler(Bundle.open(copy), precision=precision))
    assert [check.name for check in checks if not check.passed] == [
        f"bottom: draws with {setting} outside their own logits' CDF interval"
        for setting in ("top_k 2", "top_p 0.5", "min_p 0.9")
    ]


def test_a_wrong_temperature_in_the_step_is_named(copy: Path) -> None:
    model = onnx.load(copy / "top.step.onnx", load_external_data=False)
    for node in model.graph.node:
        node.input[:] = ["squared" if name == "temperature" else name for name in node.input]
    model.graph.node.insert(0, onnx.helper.make_node("Mul", ["temperature", "temperature"], ["squared"]))
    replace_file(copy, "top.step.onnx", model.SerializeToString())
    assert failures(copy) == ["top: draws with temperature 0.1 outside their own logits' CDF interval"]


def test_a_wrong_weight_of_the_step_with_filters_is_named(copy: Path) -> None:
    model = onnx.load(copy / "top.step_filtered.onnx", load_external_data=False)
    (step,) = model.graph.node
    step.input[:] = ["doubled" if name == "top.logits" else name for name in step.input]
    model.graph.node.insert(0, onnx.helper.make_node("Add", ["top.logits", "top.logits"], ["doubled"]))
    replace_file(copy, "top.step_filtered.onnx", model.SerializeToString())
    assert failures(copy) == ["top: logits of the step with filters, of max(1, max |logit|)"]


def replace_golden_arrays(folder: Path, changes: dict[str, Any]) -> None:
    with np.load(folder / "golden.npz") as archive:
        arrays: dict[str, Any] = dict(archive)
    np.savez(folder / "other.npz", **(arrays | changes))
    data = (folder / "other.npz").read_bytes()
    (folder / "other.npz").unlink()
    replace_file(folder, "golden.npz", data)


def test_golden_vectors_that_do_not_fit_the_bundle_are_an_error(copy: Path) -> None:
    replace_golden_arrays(copy, {"top.positions": np.array([[99, 99]])})
    with pytest.raises(BundleError, match="do not fit the bundle"):
        failures(copy)


def test_the_command(small_bundle: Path, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(small_bundle)]) == 0
    assert "verified on cpu" in capsys.readouterr().out
    scale_weight(copy, "decoder.onnx", "vqvae.decoder.conv.weight", 1.5)
    assert main(["verify", str(copy), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in report["checks"] if not row["passed"]] == [
        "decode: pixels, of [-1, 1]",
        "decode: pixels of a half-drawn image, of [-1, 1]",
    ]
    scale_weight(copy, "decoder.onnx", "vqvae.decoder.conv.weight", float("nan"))
    assert main(["verify", str(copy), "--json"]) == 1
    report = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert [row["error"] for row in report["checks"] if not row["passed"]] == [None] * 2


@pytest.mark.parametrize(
    ("graph", "weight", "results"),
    [
        ("top.step.onnx", "top.logits_bias", "copy: top has logits"),
        ("decoder.onnx", "vqvae.decoder.conv.bias", r"decoder\.onnx: pixels"),
    ],
)
def test_sampling_with_weights_that_are_not_finite_is_an_error(
    copy: Path, graph: str, weight: str, results: str
) -> None:
    scale_weight(copy, graph, weight, np.nan)
    with pytest.raises(BundleError, match=f"{results} that are not finite"):
        Sampler(Bundle.open(copy)).sample(1, seeds=1)


def test_the_weights_must_be_listed(copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
    del manifest["files"]["weights.safetensors"]
    (copy / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(BundleError, match=r"does not list weights\.safetensors"):
        Bundle.open(copy)
