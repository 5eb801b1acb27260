"""Classifiers in ONNX: their graph in a bundle compared with the plain reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from cpu_sessions import cpu_session
from example_counts import FACTOR
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx_models import CLASSES, IMAGE, UNIT, attached, fixed_model, noise, save, small_model
from PIL import Image

from latentloop import CheckpointError
from latentloop.export.bundle.classifier_check import run_attached
from latentloop.export.bundle.files import write_graphs
from latentloop.export.graphs.builder import WeightStore
from latentloop.export.onnx_classifiers.attached import AttachedClassifier, attach
from latentloop.export.onnx_classifiers.graph import attached_graph
from latentloop.export.onnx_classifiers.model import read_onnx
from latentloop.export.onnx_classifiers.reference import reference_results, resized
from latentloop.export.onnx_classifiers.resizing import resizing_matrix
from latentloop.export.onnx_classifiers.settings import FILTERS, PRESETS, ClassifierSettings
from latentloop.sampling.verification import CLASSIFIER_BOUND


def results(folder: Path, classifier: AttachedClassifier, images: np.ndarray) -> dict[str, np.ndarray]:
    """Runs the bundle's graph."""
    store = WeightStore()
    write_graphs(folder, {"classifier.onnx": attached_graph(classifier, store)}, store)
    return cpu_session(folder / "classifier.onnx", threads=1).run({"images": images})


def compare(folder: Path, classifier: AttachedClassifier) -> np.ndarray:
    """Compares the bundle's graph with the reference, and returns the probabilities."""
    images = noise(5, classifier.image)
    probabilities, features = reference_results(classifier, images)
    actual = results(folder, classifier, images)
    np.testing.assert_allclose(actual["probabilities"], probabilities, rtol=0, atol=CLASSIFIER_BOUND)
    scale = max(1.0, float(np.abs(features).max(initial=0)))
    np.testing.assert_allclose(actual["features"], features, rtol=0, atol=CLASSIFIER_BOUND * scale)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert probabilities.std(0).min() > 1e-3  # otherwise the comparison would be trivial
    return probabilities


# Resizing


@settings(max_examples=60 * FACTOR, deadline=None)
@given(
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(1, 20),
    st.sampled_from(FILTERS),
    st.booleans(),
)
def test_the_matrices_resize_like_the_reference(
    h: int, w: int, to_h: int, to_w: int, kind: str, antialias: bool
) -> None:
    image = noise(1, (h, w, 2), seed=h)[0].astype(np.float64)
    rows, columns = (resizing_matrix(*each, kind, antialias=antialias) for each in ((h, to_h), (w, to_w)))
    expected = resized(image, (to_h, to_w), kind, antialias=antialias)
    actual = np.einsum("ij,jkc,lk->ilc", rows, image, columns)
    np.testing.assert_allclose(actual.clip(0, 255) if kind == "bicubic" else actual, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("to", [(64, 64), (30, 17), (7, 5), (1, 1), (13, 40), (224, 224)])
@pytest.mark.parametrize("kind", FILTERS)
def test_the_reference_resizes_like_pillow_and_pytorch(kind: str, to: tuple[int, int]) -> None:
    grey = noise(1, (13, 40, 1))[0, ..., 0].astype(np.float64)
    pillow = Image.fromarray(grey.astype(np.float32)).resize(to[::-1], getattr(Image.Resampling, kind.upper()))
    ours = resized(grey[..., None], to, kind, antialias=True)[..., 0]
    np.testing.assert_allclose(ours, np.asarray(pillow).clip(0, 255), rtol=0, atol=2e-4)
    mode = {"nearest": "nearest-exact"}.get(kind, kind)
    for antialias in (False, True) if kind != "nearest" else (False,):
        tensor = torch.from_numpy(grey)[None, None]
        expected = torch.nn.functional.interpolate(tensor, to, mode=mode, antialias=antialias)[0, 0].numpy()
        ours = resized(grey[..., None], to, kind, antialias=antialias)[..., 0]
        np.testing.assert_allclose(ours, expected.clip(0, 255), rtol=0, atol=1e-9)


# The graph


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("order", ["RGB", "BGR"])
@pytest.mark.parametrize("grey", [False, True])
def test_layouts_orders_and_grey_images(layout: str, order: str, grey: bool, tmp_path: Path) -> None:
    stated = ClassifierSettings(order=order, scale=0.005, mean=(0.1, 0.7, 0.4), std=(0.5, 1.5, 1.0))
    classifier = attached(tmp_path, small_model(layout=layout), stated, (8, 12, 1 if grey else 3))
    assert (classifier.input.layout, classifier.input.size, classifier.features) == (layout, (12, 10), "pooled")
    compare(tmp_path, classifier)


def test_orders_differ(tmp_path: Path) -> None:
    """A check of the reference itself, with images whose channels are exchanged."""
    images = noise(2, IMAGE)
    rgb, bgr = (attached(tmp_path, stated=ClassifierSettings(order=order).over(UNIT)) for order in ("RGB", "BGR"))
    expected = reference_results(rgb, np.ascontiguousarray(images[..., ::-1]))[0]
    np.testing.assert_array_equal(reference_results(bgr, images)[0], expected)
    assert np.abs(reference_results(rgb, images)[0] - expected).max() > 1e-3


@settings(max_examples=25 * FACTOR, deadline=None)
@given(st.data())
def test_random_settings(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder, draw = tmp_path_factory.mktemp("random"), data.draw
    side, channels = st.integers(3, 20), draw(st.sampled_from([1, 3]))
    size, image = (draw(side), draw(side)), (draw(side), draw(side), draw(st.sampled_from([1, channels])))
    values = st.floats(0.2, 2).map(lambda value: round(value, 3))
    stated = ClassifierSettings(
        layout=draw(st.sampled_from(["NCHW", "NHWC"])),
        order=draw(st.sampled_from(["RGB", "BGR"])),
        size=draw(st.sampled_from([None, size])),
        filter=draw(st.sampled_from(FILTERS)),
        antialias=draw(st.booleans()),
        scale=draw(st.sampled_from([1 / 255, 2 / 255])),
        mean=tuple(draw(st.lists(values, min_size=channels, max_size=channels))),
        std=tuple(draw(st.lists(values, min_size=1, max_size=1))),
        classes=draw(st.sampled_from([None, ("boot", None, "coat", "boot", "bag", "hat")])),
    )
    model = small_model(
        classes=3 if stated.classes is None else 6,
        channels=channels,
        size=("h", "w") if stated.size else size,
        layout=stated.layout or "",
        last=draw(st.sampled_from([None, "Softmax", "LogSoftmax"])),
        opset=draw(st.sampled_from([11, 13, 18, 21])),
    )
    classifier = attached(folder, model, stated, image)
    images = noise(3, image)
    probabilities, features = reference_results(classifier, images)
    actual = results(folder, classifier, images)
    np.testing.assert_allclose(actual["probabilities"], probabilities, rtol=0, atol=CLASSIFIER_BOUND)
    scale = max(1.0, float(np.abs(features).max()))
    np.testing.assert_allclose(actual["features"], features, rtol=0, atol=CLASSIFIER_BOUND * scale)


def test_classes_by_name_and_by_number(tmp_path: Path) -> None:
    model = small_model(classes=5)
    names = attached(tmp_path, model, ClassifierSettings(classes=("boot", "hat", "coat", "boot", "bag")).over(UNIT))
    numbers = attached(
        tmp_path, model, ClassifierSettings(classes={"bag": (4,), "boot": (0, 3), "coat": (2,)}).over(UNIT)
    )
    plain = attached(tmp_path, model, classes=("a", "b", "c", "d", "e"))
    raw = compare(tmp_path, plain)
    expected = np.stack([raw[:, 2], raw[:, 4], raw[:, 0] + raw[:, 3]], 1)
    for classifier in (names, numbers):
        np.testing.assert_allclose(compare(tmp_path, classifier), expected / expected.sum(1, keepdims=True), atol=1e-12)


def test_probabilities_are_not_softmaxed_again(tmp_path: Path) -> None:
    logits, softmaxed = (attached(tmp_path, small_model(last=last)) for last in (None, "Softmax"))
    assert (logits.softmax, softmaxed.softmax) == (True, False)
    np.testing.assert_allclose(compare(tmp_path, softmaxed), compare(tmp_path, logits), atol=1e-6)


def test_features_by_name_and_none(tmp_path: Path) -> None:
    none = attached(tmp_path, stated=ClassifierSettings(features=False).over(UNIT))
    compare(tmp_path, none)
    assert results(tmp_path, none, noise(2, IMAGE))["features"].shape == (2, 0)
    named = attached(tmp_path, stated=ClassifierSettings(features="mean").over(UNIT))
    assert named.feature_count == 300
    compare(tmp_path, named)
    same = attached(tmp_path, stated=ClassifierSettings(features="logits").over(UNIT))
    assert same.feature_count == 3
    compare(tmp_path, same)
    unknown = attached(tmp_path, small_model(last="Sin"))  # no matrix product computes the output
    assert unknown.features is None
    compare(tmp_path, unknown)


def test_uint8_pixels_as_they_are(tmp_path: Path) -> None:
    model = small_model(dtype=TensorProto.UINT8, size=IMAGE[:2])
    scaled = helper.make_node("Mul", ["float", "small"], ["scaled"])
    model.graph.node.insert(1, scaled)
    model.graph.node[2].input[0] = "scaled"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(1 / 255, np.float32), "small"))
    compare(tmp_path, attached(tmp_path, model, ClassifierSettings()))
    compare(tmp_path, attached(tmp_path, model, ClassifierSettings(), (*IMAGE[:2], 1)))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_fixed_batch_becomes_dynamic(layout: str, tmp_path: Path) -> None:
    for batch in (1, 4):
        classifier = attached(tmp_path, small_model(batch=batch, layout=layout))
        assert not classifier.one_by_one
        compare(tmp_path, classifier)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("features", [None, False])
def test_a_model_of_one_image_runs_on_one_after_the_other(layout: str, features: bool | None, tmp_path: Path) -> None:
    classifier = attached(tmp_path, fixed_model(1, layout=layout), ClassifierSettings(features=features).over(UNIT))
    assert (classifier.one_by_one, classifier.feature_count) == (True, 300 if features is None else 0)
    compare(tmp_path, classifier)
    with pytest.raises(
        CheckpointError, match=r"judge\.onnx: its batch is fixed to 4, .*with a dynamic batch, or a batch"
    ):
        attached(tmp_path, fixed_model(4, layout=layout))


def test_external_data_functions_and_inner_graphs(tmp_path: Path) -> None:
    model = small_model(opset=18)
    branch = helper.make_graph(  # reads a weight and a value of the outer graph
        [helper.make_node("Gemm", ["pooled", "linear", "bias"], ["inner"], transB=1)],
        "branch",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
    )
    model.graph.node[-1].CopyFrom(helper.make_node("If", ["yes"], ["chosen"], then_branch=branch, else_branch=branch))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "yes"))
    body = [helper.make_node("Mul", ["x", "x"], ["square"]), helper.make_node("Sub", ["square", "x"], ["y"])]
    model.functions.append(helper.make_function("own", "Curve", ["x"], ["y"], body, [helper.make_opsetid("", 18)]))
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.graph.node.append(helper.make_node("Curve", ["chosen"], ["logits"], domain="own"))
    file = save(tmp_path / "judge.onnx", model, save_as_external_data=True, location="judge.bin", size_threshold=100)
    read = read_onnx(file)
    assert [*read.data] == ["judge.bin"]
    compare(tmp_path, run_attached(attach(read, UNIT, IMAGE, CLASSES)))
    (tmp_path / "hub").mkdir()  # a folder of links, as in the cache of a hub
    for number, name in enumerate(("judge.onnx", "judge.bin")):
        (tmp_path / name).rename(tmp_path / f"blob{number}")
        (tmp_path / "hub" / name).symlink_to(tmp_path / f"blob{number}")
    assert read_onnx(tmp_path / "hub" / "judge.onnx").data == read.data
    for number, name in enumerate(("judge.onnx", "judge.bin")):
        (tmp_path / f"blob{number}").rename(tmp_path / name)
    (tmp_path / "judge.bin").write_bytes((tmp_path / "judge.bin").read_bytes()[:1000])
    with pytest.raises(
        CheckpointError, match=r"judge\.onnx: its weights in 'judge\.bin' are not readable: '\w+' ends after"
    ):
        read_onnx(file)
    (tmp_path / "judge.bin").unlink()
    with pytest.raises(
        CheckpointError, match=r"its weights are in 'judge\.bin': cannot read .*judge\.bin: No such file"
    ):
        read_onnx(file)


@pytest.mark.parametrize("dynamo", [False, True])
def test_a_model_exported_by_pytorch(dynamo: bool, tmp_path: Path) -> None:
    if dynamo:
        pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        *(torch.nn.Conv2d(3, 40, 3, stride=2), torch.nn.BatchNorm2d(40), torch.nn.ReLU()),
        *(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Dropout(), torch.nn.Linear(40, 3)),
    ).eval()
    with torch.no_grad():
        for parameter in model[6].parameters():
            parameter.mul_(10)
    with pytest.warns() if not dynamo else pytest.MonkeyPatch.context():
        torch.onnx.export(
            *(model, (torch.zeros(1, 3, 24, 24),), tmp_path / "judge.onnx"),
            **{"dynamo": dynamo, "opset_version": 18, "dynamic_axes": {"x": {0: "batch"}}, "input_names": ["x"]},  # type: ignore[arg-type]
        )
    classifier = run_attached(attach(read_onnx(tmp_path / "judge.onnx"), PRESETS["imagenet"], IMAGE, CLASSES))
    assert classifier.feature_count == 40
    compare(tmp_path, classifier)
    images = noise(4, (24, 24, 3))
    same_size = run_attached(attach(classifier.model, PRESETS["imagenet"], (24, 24, 3), CLASSES))
    mean, std = (torch.as_tensor(each)[:, None, None] for each in (PRESETS["imagenet"].mean, PRESETS["imagenet"].std))
    with torch.no_grad():
        expected = model((torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - mean) / std).softmax(1)
    np.testing.assert_allclose(results(tmp_path, same_size, images)["probabilities"], expected, atol=1e-5)
