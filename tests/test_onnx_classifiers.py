"""Classifiers in ONNX: their graph in a bundle compared with the plain reference, and what is refused."""

from __future__ import annotations

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from cpu_sessions import cpu_session
from example_counts import FACTOR
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx_models import fixed_model, noise, save, small_model
from PIL import Image

from latentloop import CheckpointError, InputError, OutputError
from latentloop.export.bundle.classifier_check import run_attached
from latentloop.export.bundle.files import write_graphs
from latentloop.export.graphs.builder import WeightStore
from latentloop.export.layouts.reading import read_classifier
from latentloop.export.onnx_classifiers.attached import AttachedClassifier, attach
from latentloop.export.onnx_classifiers.graph import attached_graph
from latentloop.export.onnx_classifiers.model import is_onnx, read_onnx
from latentloop.export.onnx_classifiers.reference import reference_results, resized
from latentloop.export.onnx_classifiers.resizing import resizing_matrix
from latentloop.export.onnx_classifiers.settings import FILTERS, PRESETS, ClassifierSettings, read_settings
from latentloop.sampling.verification import CLASSIFIER_BOUND

CLASSES = ("coat", "bag", "boot")
IMAGE = (8, 12, 3)
UNIT = PRESETS["unit"]


def attached(
    folder: Path,
    model: onnx.ModelProto | None = None,
    stated: ClassifierSettings = UNIT,
    image: tuple[int, int, int] = IMAGE,
    classes: tuple[str, ...] = CLASSES,
) -> AttachedClassifier:
    file = save(folder / "judge.onnx", model or small_model())
    return run_attached(attach(read_onnx(file), stated, image, classes))


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
    (tmp_path / "judge.bin").write_bytes((tmp_path / "judge.bin").read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"judge\.onnx: its weights in judge\.bin are not readable"):
        read_onnx(file)
    (tmp_path / "judge.bin").unlink()
    with pytest.raises(CheckpointError, match=r"its weights are in judge\.bin: cannot read .*judge\.bin: No such file"):
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


# What is refused


def changed(**changes: Any) -> ClassifierSettings:
    return ClassifierSettings(**changes).over(UNIT)


NODE = helper.make_node
REFUSED: list[tuple[Any, ClassifierSettings, str]] = [
    ({}, ClassifierSettings(), r"values of its pixels are not known \(scale, mean, std\).*--classifier-preset"),
    ({}, ClassifierSettings(scale=1.0), r"not known \(mean, std\)"),
    ({"size": ("h", "w")}, UNIT, r"its input 'pixels' is for images of any size: .*size: \[height, width\]"),
    ({}, changed(size=(5, 5)), "is for images of 12 x 10, but size is 5 x 5: leave size out"),
    ({"size": (12, 3)}, UNIT, r"has the shape batch x 3 x 12 x 3|3 x 12 x 3, which does not tell whether channels"),
    ({"channels": 4}, UNIT, "does not tell whether channels come first"),
    ({"channels": 4}, changed(layout="NCHW"), r"has 4 channels \(NCHW\), expected 1 or 3"),
    ({"channels": 1}, UNIT, "it is for grey images, the bundle's are RGB"),
    ({"dtype": TensorProto.FLOAT16}, UNIT, "its input 'pixels' is float16, expected float32"),
    ({"dtype": TensorProto.INT64}, UNIT, "its input 'pixels' is int64, expected float32"),
    ({"dtype": TensorProto.UINT8}, ClassifierSettings(), "is uint8, of 12 x 10 pixels; expected float32, or pixels of"),
    ({}, changed(mean=(1.0, 2.0, 3.0), std=(1.0, 2.0)), "std has 2 values, expected 1, or one for each channel"),
    ({"classes": 4}, UNIT, r"'logits' has 4 classes, the bundle 3 \(coat, bag, boot\): name the classifier's classes"),
    ({"classes": 4}, changed(classes=("coat", "bag", "boot")), "has 4 classes, but classes names 3"),
    ({}, changed(classes={"coat": (0,), "bag": (1,), "boot": (3,)}), "has 3 classes, but classes names the output 3"),
    (
        {},
        changed(classes=("coat", "bag", "hat")),
        "classes has no output for boot: the classifier must know every class",
    ),
    ({}, changed(classes={"coat": (0,), "hat": (1,)}), "classes has 'hat', expected the bundle's: coat, bag, boot"),
    ({}, changed(classes={"coat": (0,), "bag": (0,), "boot": (1,)}), "classes has the output 0 2 times"),
    ({"outputs": ("logits", "mean")}, UNIT, "its outputs are logits, mean, expected one, of logits or probabilities"),
    ({}, changed(output="nothing"), "output is 'nothing', which no node computes; its outputs are logits"),
    ({}, changed(features="nothing"), "features is 'nothing', which no node computes"),
    ({}, changed(output="activated"), r"'activated' is float32 \['batch', 300, 5, 4\], expected float32 \['batch', cl"),
    ({"last": "Sigmoid"}, UNIT, r"is computed by a Sigmoid, .*output: 'logits', softmax: true"),
    ({}, changed(softmax=False), r"whose sums are .*, expected probabilities: .*softmax: true"),
    ({"extra": [NODE("Softmax", ["logits"], ["p"]), NODE("Abs", ["p"], ["q"])], "outputs": ["q"]}, UNIT, "no Softmax"),
    (
        {"extra": [NODE("Shape", ["logits"], ["shape_of"])], "outputs": ["shape_of"]},
        UNIT,
        r"'shape_of' is int64 \['batch'\]",
    ),
    ({}, changed(features="activated", output="logits", scale=1e37), "not finite for images of noise"),
    (
        {"extra": [NODE("Gelu", ["logits"], ["g"], domain="com.microsoft")], "outputs": ["g"]},
        UNIT,
        "com.microsoft.Gelu",
    ),
    (
        {"extra": [NODE("RandomNormalLike", ["logits"], ["r"]), NODE("Add", ["r", "logits"], ["s"])], "outputs": ["s"]},
        UNIT,
        r"draws random numbers \(RandomNormalLike\): export it for inference",
    ),
    (
        {
            "extra": [NODE("ReduceMean", ["logits"], ["m"], axes=[0]), NODE("Sub", ["logits", "m"], ["s"])],
            "outputs": ["s"],
        },
        UNIT,
        "its results for 3 images at once differ by .* from those for each one",
    ),
]


@pytest.mark.parametrize("case", range(len(REFUSED)))
def test_what_does_not_fit_is_refused(case: int, tmp_path: Path) -> None:
    arguments, stated, message = REFUSED[case]
    model = small_model(**arguments)
    if "com.microsoft" in message:
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    with pytest.raises((InputError, CheckpointError), match=message) as caught:
        attached(tmp_path, model, stated)
    assert str(caught.value).startswith(str(tmp_path / "judge.onnx"))
    assert "\n" not in str(caught.value)


def test_inputs_other_than_images_are_refused(tmp_path: Path) -> None:
    model = small_model()
    model.graph.input.append(helper.make_tensor_value_info("tokens", TensorProto.INT64, [1, 77]))
    with pytest.raises(InputError, match="its inputs are pixels, tokens, expected one, for images"):
        attached(tmp_path, model)
    model = small_model()
    model.graph.input[0].type.tensor_type.shape.dim.pop()
    with pytest.raises((InputError, CheckpointError), match=r"four axes|valid ONNX"):
        attached(tmp_path, model)


def test_a_new_opset_is_converted_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model()
    newest = onnx.defs.onnx_opset_version()
    model.opset_import[0].version, model.ir_version = newest, 10
    try:
        assert attached(tmp_path, model).opset <= 21
    except CheckpointError as error:
        assert f"its opset is {newest}, expected 13 to 21" in str(error)  # noqa: PT017 (either is right)


def test_files_that_are_not_onnx(tmp_path: Path) -> None:
    whole = save(tmp_path / "judge.onnx", small_model()).read_bytes()
    assert is_onnx(tmp_path / "judge.onnx")
    for content, message in ((whole[: len(whole) // 2], "not a readable ONNX file"), (b"\x08\x07", "has no graph")):
        (tmp_path / "judge.onnx").write_bytes(content)
        assert is_onnx(tmp_path / "judge.onnx")
        with pytest.raises(CheckpointError, match=message):
            read_onnx(tmp_path / "judge.onnx")
    for content in (b"", b"PK\x03\x04", b'\x08\x00\x00\x00\x00\x00\x00\x00{"": 1}'):
        (tmp_path / "judge.onnx").write_bytes(content)
        assert not is_onnx(tmp_path / "judge.onnx")
        with pytest.raises(CheckpointError, match=r"judge\.onnx"):
            read_classifier(tmp_path / "judge.onnx")
    assert not is_onnx(tmp_path / "missing.onnx")
    assert not is_onnx(tmp_path)
    os.mkfifo(tmp_path / "pipe")  # opening it would block
    assert not is_onnx(tmp_path / "pipe")


def test_a_file_outside_the_folder_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    file = save(
        tmp_path / "in" / "judge.onnx", small_model(), save_as_external_data=True, location="j.bin", size_threshold=9
    )
    (tmp_path / "in" / "j.bin").rename(tmp_path / "j.bin")
    model = onnx.load(file, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            entry.value = "../j.bin" if entry.key == "location" else entry.value
    file.write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError, match=r"its weights are in '\.\./j\.bin', expected a file of the same folder"):
        read_onnx(file)


# Settings


def test_settings_are_read_over_a_preset(tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    values = {
        "layout": "NHWC",
        "size": 7,
        "std": [1, 2, 3],
        "features": False,
        "classes": {"a": 1, "b": [2]},
        "mean": None,
    }
    file.write_text(json.dumps(values))
    read = read_settings(file, "clip")
    assert (read.layout, read.size, read.std, read.features) == ("NHWC", (7, 7), (1.0, 2.0, 3.0), False)
    assert (read.classes, read.filter, read.mean) == ({"a": (1,), "b": (2,)}, "bicubic", PRESETS["clip"].mean)
    assert read_settings(None, None) == ClassifierSettings()


def test_every_setting_can_be_stated_and_is_documented() -> None:
    page = (Path(__file__).parents[1] / "docs" / "classifiers.md").read_text()
    for field in fields(ClassifierSettings):
        assert f"| `{field.name}` |" in page
    for preset in PRESETS:
        assert f"`{preset}`" in page


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "expected an object with some of layout"),
        ("{", "not readable as JSON"),
        ('{"colour": 1}', "unknown field 'colour', expected some of layout"),
        ('{"order": "GBR"}', "order is 'GBR', expected one of RGB, BGR"),
        ('{"size": [3]}', r"size is \[3\], expected \[height, width\]"),
        ('{"size": 99999}', "from 1 to 4096"),
        ('{"scale": 0}', "scale is 0, expected a number over 0"),
        ('{"std": [1, 0, 1]}', "std is .*, expected numbers over 0"),
        ('{"mean": "0.5"}', "mean is '0.5', expected a number, or a list"),
        ('{"softmax": 1}', "softmax is 1, expected true or false"),
        ('{"features": true}', "features, if not false, is True, expected a name"),
        ('{"classes": [1]}', r"classes is \[1\], expected a list with the name of each output"),
        ('{"classes": {"a": -1}}', "classes.a is -1, expected the number of an output"),
    ],
)
def test_wrong_settings(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_settings(tmp_path / "settings.json", None)
    assert "settings.json" in str(caught.value)
    with pytest.raises(InputError, match=r"missing\.json: cannot be read: No such file"):
        read_settings(tmp_path / "missing.json", None)


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("latentloop.export.bundle.classifier_check.write_graphs", full)
    with pytest.raises(OutputError, match=r"cannot write a classifier into .*: No space left on device"):
        attached(tmp_path)
