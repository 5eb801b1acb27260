"""An encoder, decoder or classifier that does not fit the manifest: an error that names the file and what differs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from corrupted_bundles import edit_manifest, error_of, read_manifest, replace_file
from embedded_bundles import Refused

from latentloop import Bundle, Sampler


@pytest.fixture
def copy(small_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_bundle, tmp_path / "copy"))


@pytest.fixture
def grey(grey_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(grey_bundle, tmp_path / "grey"))


def encode(folder: Path) -> dict[str, Any]:
    bundle = Bundle.open(folder)
    return Sampler(bundle, "cpu", 1).encode(np.zeros((2, *bundle.image_shape), np.uint8))


def decode(folder: Path) -> Any:
    bundle = Bundle.open(folder)
    codes = {level.name: np.zeros((2, level.height, level.width), int) for level in bundle.levels}
    return Sampler(bundle, "cpu", 1).decode(codes)


def classify(folder: Path) -> Any:
    bundle = Bundle.open(folder)
    return Sampler(bundle, "cpu", 1).classify(np.zeros((2, *bundle.image_shape), np.uint8))


@pytest.mark.parametrize(("role", "action"), [("encoder", encode), ("decoder", decode), ("classifier", classify)])
def test_another_number_of_channels(copy: Path, role: str, action: Callable[[Path], object]) -> None:
    edit_manifest(copy, "image", value=[32, 48, 1])
    text = error_of(lambda: action(copy))
    assert f"{copy / role}.onnx: the {role}'s images is uint8 ['batch', 32, 48, 3], expected from the manifest " in text
    assert "uint8 ['batch', 32, 48, 1]; export the bundle again" in text


@pytest.mark.parametrize("channels", [2, 4])
def test_images_that_are_neither_grey_nor_rgb(copy: Path, channels: int, refused: Refused) -> None:
    edit_manifest(copy, "image", value=[32, 48, channels])
    text = refused(copy)
    assert f"manifest.json.image is [32, 48, {channels}], expected 1 channel (grey) or 3 (RGB), listed last" in text


def test_another_size_of_images(grey: Path) -> None:
    manifest = read_manifest(grey)
    manifest["image"] = [32, 32, 1]
    (grey / "manifest.json").write_text(json.dumps(manifest))
    assert "the encoder's images is uint8 ['batch', 16, 16, 1], expected" in error_of(lambda: encode(grey))
    assert "the decoder's images is uint8 ['batch', 16, 16, 1], expected" in error_of(lambda: decode(grey))


def test_another_name_of_a_level(grey: Path) -> None:
    edit_manifest(grey, "levels", 1, "name", value="bot")
    assert "encoder.onnx: the encoder's outputs are top, bottom, expected from the manifest top, bot;" in error_of(
        lambda: encode(grey)
    )
    assert "decoder.onnx: the decoder's inputs are top, bottom, expected" in error_of(lambda: decode(grey))


def test_files_of_another_role(copy: Path) -> None:
    replace_file(copy, "classifier.onnx", (copy / "top.condition.onnx").read_bytes())
    assert "classifier.onnx: the classifier's inputs are labels, expected from the manifest images" in error_of(
        lambda: classify(copy)
    )


def test_another_number_of_classes(copy: Path) -> None:
    edit_manifest(copy, "classes", value=["coat", "bag", "boot", "hat"])
    text = error_of(lambda: classify(copy))
    assert (
        "the classifier's probabilities is float32 ['batch', 3], expected from the manifest float32 ['batch', 4]"
        in text
    )


def test_sizes_that_the_graph_leaves_open_fit(copy: Path) -> None:
    model = onnx.load(copy / "decoder.onnx", load_external_data=False)
    for value in (*model.graph.input, *model.graph.output):
        for axis, size in enumerate(value.type.tensor_type.shape.dim):
            size.dim_param = f"axis{axis}"
    before = decode(copy)
    replace_file(copy, "decoder.onnx", model.SerializeToString())
    np.testing.assert_array_equal(decode(copy), before)
