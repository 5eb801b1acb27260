"""Classifiers in ONNX: what is refused, and their settings."""

from __future__ import annotations

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper
from onnx_models import UNIT, attached, save, small_model

from latentloop import CheckpointError, InputError, OutputError
from latentloop.export.layouts.reading import read_classifier
from latentloop.export.onnx_classifiers.model import is_onnx, read_onnx
from latentloop.export.onnx_classifiers.settings import PRESETS, ClassifierSettings, read_settings


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
    ({"outputs": ()}, UNIT, "its outputs are none, expected one, of logits or probabilities"),
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


def test_a_model_that_onnx_runtime_cannot_load_is_named_by_its_file(tmp_path: Path) -> None:
    mixed = small_model(extra=[NODE("Shape", ["pixels"], ["sizes"]), NODE("Add", ["logits", "sizes"], ["sum"])])
    with pytest.raises(CheckpointError, match=r"ONNX Runtime cannot load it: .*Add") as caught:
        attached(tmp_path, mixed, changed(output="logits"))
    file = str(tmp_path / "judge.onnx")
    assert str(caught.value).startswith(file)
    assert f"Load model from {file} failed" in str(caught.value)
    assert "original.onnx" not in str(caught.value)


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
        ('{"std": 1e300}', "std is 1e.300, expected numbers from -1e.38 to 1e.38"),
        ('{"mean": [0, -1e39, 0]}', r"mean is \[0, -1e\+39, 0\], expected numbers from -1e.38 to 1e.38"),
        ('{"scale": 1e300}', r"scale is 1e.300, expected a number over 0, up to 1e.38"),
        ('{"mean": [0, null, 0]}', r"mean is \[0, null, 0\], expected a number, or a list"),
        ("null", "settings.json is null, expected an object"),
        ('{"softmax": "false"}', "softmax is 'false', expected true or false"),
        ('{"scale": 0}', "scale is 0, expected a number over 0"),
        ('{"std": [1, 0, 1]}', "std is .*, expected numbers over 0"),
        ('{"mean": "0.5"}', "mean is '0.5', expected a number, or a list"),
        ('{"softmax": 1}', "softmax is 1, expected true or false"),
        ('{"features": true}', "features, if not false, is true, expected a name"),
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
