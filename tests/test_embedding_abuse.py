"""Spoilt bundles in liblatentloop when they are used: it refuses what Python refuses, and names the same file.

The bundles are refused as Python refuses them: the status is that of a bad bundle, nothing crashes, and what does not
need the spoilt file still works.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from changed_bundles import CHANGED, CHANGES, change_byte, deploy, touch
from corrupted_bundles import edit_manifest, error_of, replace_file, scale_weight
from embedded import EmbeddedBundle, EmbeddedError, EmbeddedSampler, Library, installed_library
from linked_bundles import files_of, mounted

from latentloop import Bundle, Sampler, sample_best

Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def library() -> Library:
    return Library(installed_library())


@pytest.fixture
def copy(small_bundle: Path, tmp_path: Path) -> Path:
    return shutil.copytree(small_bundle, tmp_path / "copy")


class Pair:
    """A sampler of the C library and one of Python, and what both do."""

    def __init__(self, library: Library, folder: Path, precision: str = "float32") -> None:
        self.folder = folder
        self.ours: EmbeddedSampler = library.open(folder).sampler(precision)
        self.python = Sampler(Bundle.open(folder), "cpu", threads=1, precision=precision)
        self.images = np.zeros((2, *self.python.bundle.image_shape), np.uint8)
        self.codes = {level.name: np.zeros((2, level.height, level.width), int) for level in self.python.bundle.levels}

    def action(self, sampler: Any, name: str) -> Callable[[], Any]:
        is_ours = isinstance(sampler, EmbeddedSampler)
        filtered = {"top": 2, "bottom": 2} if is_ours else 2
        actions: dict[str, Callable[[], Any]] = {
            "sample": lambda: sampler.sample(1, seeds=0),
            "filtered": lambda: sampler.sample(1, seeds=0, top_k=filtered),
            "encode": lambda: sampler.encode(self.images),
            "decode": lambda: sampler.decode(self.codes),
            "likelihood": lambda: sampler.log_likelihood(self.codes, np.zeros(2, np.int64) if is_ours else 0),
            "classify": lambda: sampler.classify(self.images),
            "best": lambda: sampler.sample_best(1, 2) if is_ours else sample_best(sampler, 1, keep=0.5),
        }
        return actions[name]

    def refuse(self, name: str) -> tuple[str, str]:
        """Returns the texts with which the C library and Python refuse."""
        with pytest.raises(EmbeddedError) as caught:
            self.action(self.ours, name)()
        assert caught.value.status == "bad bundle", caught.value
        return caught.value.text, error_of(self.action(self.python, name))

    def refuse_for(self, name: str, *parts: str) -> None:
        """Both must refuse, twice. The C library's text must have all the parts, and Python's name the bundle."""
        for _ in range(2):
            text, pythons = self.refuse(name)
            assert [part for part in parts if part not in text] == [], text
            assert str(self.folder) in pythons

    def work(self, *names: str) -> None:
        for name in names:
            self.action(self.ours, name)()
            self.action(self.python, name)()


ALL = ("sample", "filtered", "encode", "decode", "likelihood", "classify", "best")
USES = {
    "top.condition.onnx": ("sample", "filtered", "likelihood", "best"),
    "top.row.onnx": ("sample", "filtered", "likelihood", "best"),
    "bottom.step.onnx": ("sample", "likelihood", "best"),
    "bottom.step_filtered.onnx": ("filtered",),
    "encoder.onnx": ("encode",),
    "decoder.onnx": ("sample", "filtered", "decode", "best"),
    "classifier.onnx": ("classify", "best"),
}
CONTENTS = {
    "empty": b"",
    "text": b"no graph at all",
    "zeros": bytes(10_000),
    "deep": b"\x3a\xff\xff\xff\xff\x0f" * 1000,
}


@pytest.mark.parametrize("content", [*CONTENTS, "cut", "model without graph"])
@pytest.mark.parametrize("name", USES)
def test_a_file_that_is_no_graph(copy: Path, library: Library, name: str, content: str) -> None:
    original = (copy / name).read_bytes()
    others = {"cut": original[: len(original) * 2 // 3], "model without graph": onnx.ModelProto().SerializeToString()}
    replace_file(copy, name, {**CONTENTS, **others}[content])
    pair = Pair(library, copy)
    for use in ALL:
        if use in USES[name]:
            pair.refuse_for(use, str(copy / name))
        else:
            pair.work(use)


@pytest.mark.parametrize("name", USES)
@pytest.mark.parametrize("kind", ["inputs", "outputs"])
def test_another_name_of_an_input_or_output(copy: Path, library: Library, name: str, kind: str) -> None:
    model = onnx.load(copy / name, load_external_data=False)
    value = (model.graph.input if kind == "inputs" else model.graph.output)[0]
    for node in model.graph.node:
        names = node.input if kind == "inputs" else node.output
        names[:] = ["other" if each == value.name else each for each in names]
        if kind == "outputs":
            node.input[:] = ["other" if each == value.name else each for each in node.input]
    value.name = "other"
    replace_file(copy, name, model.SerializeToString())
    pair = Pair(library, copy)
    for use in USES[name]:
        pair.refuse_for(use, str(copy / name), kind)


@pytest.mark.parametrize("name", ["top.row.onnx", "bottom.step.onnx", "decoder.onnx", "classifier.onnx"])
def test_a_graph_of_another_role(copy: Path, library: Library, name: str) -> None:
    replace_file(copy, name, (copy / "encoder.onnx").read_bytes())
    pair = Pair(library, copy)
    for use in USES[name]:
        pair.refuse_for(use, str(copy / name))
    pair.work("encode")


@pytest.mark.parametrize("location", ["../weights.safetensors", "/etc/hostname", "manifest.json", "none.safetensors"])
def test_weights_elsewhere_are_not_read(copy: Path, library: Library, location: str) -> None:
    shutil.copy(copy / "weights.safetensors", copy.parent / "weights.safetensors")
    model = onnx.load(copy / "decoder.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    replace_file(copy, "decoder.onnx", model.SerializeToString())
    pair = Pair(library, copy)
    pair.refuse_for("decode", str(copy / "decoder.onnx"))
    pair.work("encode", "classify")


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_weights_that_are_too_short(copy: Path, library: Library, size: int) -> None:
    replace_file(copy, "weights.safetensors", (copy / "weights.safetensors").read_bytes()[:size])
    pair = Pair(library, copy)
    for use in ALL:
        pair.refuse_for(use, str(copy), ".onnx")


def largest_weight(bundle: Path, graph: str) -> str:
    model = onnx.load(bundle / graph, load_external_data=False)
    external = [t for t in model.graph.initializer if t.external_data and t.data_type == onnx.TensorProto.FLOAT]
    return str(max(external, key=lambda tensor: int(np.prod(tensor.dims))).name)


@pytest.mark.parametrize("factor", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("graph", "use", "text"),
    [
        ("decoder.onnx", "decode", "decoder.onnx: pixels that are not finite"),
        ("classifier.onnx", "classify", "classifier.onnx: results that are not"),
        ("top.row.onnx", "sample", "top has logits that are not finite numbers"),
        ("top.row.onnx", "likelihood", "top has logits that are not finite numbers"),
        ("bottom.row.onnx", "sample", "bottom has logits that are not finite numbers"),
        ("bottom.row.onnx", "likelihood", "bottom has logits that are not finite numbers"),
    ],
)
def test_results_that_are_not_finite(
    copy: Path, library: Library, graph: str, use: str, text: str, factor: float
) -> None:
    scale_weight(copy, graph, largest_weight(copy, graph), factor)
    pair = Pair(library, copy)
    pair.refuse_for(use, text, str(copy))
    pair.work("encode")
    assert pair.ours.finished == 0


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["decoder.onnx", "weights.safetensors"])
def test_a_file_that_changed_since_the_bundle_was_opened(
    copy: Path, library: Library, name: str, change: Change
) -> None:
    pair = Pair(library, copy)
    change(copy / name)
    for _ in range(2):
        assert pair.refuse("decode") == (f"{copy / name} {CHANGED}",) * 2
    if name == "decoder.onnx":
        pair.work("encode", "likelihood", "classify")


@pytest.mark.parametrize("name", ["weights.safetensors", "top.row.onnx"])
def test_a_version_deployed_to_the_same_path(small_bundle: Path, tmp_path: Path, library: Library, name: str) -> None:
    path = mounted(small_bundle, tmp_path)
    pair = Pair(library, path)
    deploy(path, lambda version: change_byte(version / name))
    for _ in range(2):
        assert pair.refuse("sample") == (f"{path / name} {CHANGED}",) * 2


def test_the_same_version_deployed_again_is_used(small_bundle: Path, tmp_path: Path, library: Library) -> None:
    path = mounted(small_bundle, tmp_path)
    pair = Pair(library, path)
    deploy(path, touch)
    images, _ = pair.ours.sample(1, seeds=3)
    np.testing.assert_array_equal(images, pair.python.sample(1, seeds=3).images)


def test_loaded_graphs_do_not_need_their_files(copy: Path, library: Library) -> None:
    pair = Pair(library, copy)
    expected, _ = pair.ours.sample(1, seeds=1)
    for file in files_of(copy):
        file.rename(file.with_suffix(".old"))
    images, _ = pair.ours.sample(1, seeds=1)
    np.testing.assert_array_equal(images, expected)


def test_another_number_of_classes_or_channels(copy: Path, library: Library) -> None:
    edit_manifest(copy, "classes", value=["coat", "bag", "boot", "hat"])
    pair = Pair(library, copy)
    pair.refuse_for("classify", f"{copy / 'classifier.onnx'}: the classifier's probabilities is float32", "4]")
    edit_manifest(copy, "image", value=[32, 48, 1])
    pair = Pair(library, copy)
    for role, use in (("encoder", "encode"), ("decoder", "decode"), ("classifier", "classify")):
        pair.refuse_for(use, f"{copy / role}.onnx: the {role}'s images is uint8 [", "32, 48, 3], expected", "again")


def test_a_sampler_works_when_its_bundle_is_repaired(copy: Path, library: Library) -> None:
    pair = Pair(library, copy)
    content = (copy / "bottom.row.onnx").read_bytes()
    (copy / "bottom.row.onnx").write_bytes(b"")
    pair.refuse_for("sample", str(copy / "bottom.row.onnx"), CHANGED)
    (copy / "bottom.row.onnx").write_bytes(content)
    images, _ = pair.ours.sample(2, seeds=4)
    np.testing.assert_array_equal(images, pair.python.sample(2, seeds=4).images)


@pytest.fixture
def grey(grey_bundle: Path, library: Library) -> Iterator[EmbeddedBundle]:
    bundle = library.open(grey_bundle)
    yield bundle
    bundle.close()


def test_a_bundle_without_priors_classes_and_classifier(grey: EmbeddedBundle) -> None:
    sampler = grey.sampler()
    codes = sampler.encode(np.zeros((2, *grey.image), np.uint8))
    refused: list[tuple[Callable[[], object], str]] = [
        (lambda: sampler.sample(1), "no prior for the level 'top'"),
        (lambda: sampler.sample_best(1, 1), "no prior for the level 'top'"),
        (lambda: sampler.sample_best(1, 1, given=codes), "no classes"),
        (lambda: sampler.log_likelihood(codes, None), "no prior for the level 'top'"),
        (lambda: sampler.log_likelihood(codes, np.zeros(2, np.int64)), "labels were given, but the bundle has no"),
        (lambda: sampler.classify(np.zeros((1, *grey.image), np.uint8)), "no classifier"),
    ]
    for action, text in refused:
        with pytest.raises(EmbeddedError, match=text) as caught:
            action()
        assert caught.value.status == "invalid argument"
    decoded = sampler.decode(codes)
    images, _ = sampler.sample(2, given=codes)
    np.testing.assert_array_equal(images, decoded)
