"""What `train --data` takes, `encode` and `reconstruct` take: IDX files, and folders of classes, with their labels."""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import codes, run
from corrupted_bundles import edit_manifest
from numpy.typing import NDArray
from PIL import Image

from latentloop import Bundle, InputError, Sampler
from latentloop.cli import progress
from latentloop.cli.image_inputs import ImageInputs
from latentloop.cli.interrupt import StopRequest
from latentloop.export.data.datasets import load_data
from latentloop.images import read_images
from latentloop.io.codes_file import open_codes

GREY = (16, 16, 1)


def idx_bytes(values: NDArray[np.uint8]) -> bytes:
    return struct.pack(f">{1 + values.ndim}I", 0x800 + values.ndim, *values.shape) + values.tobytes()


def write_idx(folder: Path, prefix: str, count: int, *, size: int = 13, packed: bool = False) -> NDArray[np.uint8]:
    """Writes images of size x size, and the labels 0, 1, 2, 0, …; returns the images."""
    folder.mkdir(exist_ok=True, parents=True)
    images = np.random.default_rng(count).integers(0, 256, (count, size, size), np.uint8)
    labels = (np.arange(count) % 3).astype(np.uint8)
    for name, values in ((f"{prefix}-images-idx3-ubyte", images), (f"{prefix}-labels-idx1-ubyte", labels)):
        content = idx_bytes(values)
        (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(content) if packed else content)
    return images


@pytest.mark.parametrize("packed", [False, True])
def test_idx_images_are_those_of_a_training(tmp_path: Path, packed: bool) -> None:
    write_idx(tmp_path / "data", "train", 5, packed=packed)
    write_idx(tmp_path / "data", "t10k", 4, packed=packed)
    data = load_data(tmp_path / "data", 16)
    expected = np.concatenate([data.held_out.images, data.training.images])  # in the order of the names
    np.testing.assert_array_equal(read_images([tmp_path / "data"], GREY, resize=True), expected)
    single = tmp_path / "data" / f"train-images-idx3-ubyte{'.gz' if packed else ''}"
    np.testing.assert_array_equal(read_images([single], GREY, resize=True), data.training.images)
    renamed = single.rename(tmp_path / "digits")
    np.testing.assert_array_equal(read_images([renamed], GREY, resize=True), data.training.images)
    np.testing.assert_array_equal(
        read_images([renamed], (20, 15, 1), resize=True)[:, 3:16, 1:14], expected[4:, 1:14, 1:14]
    )


def test_a_file_that_is_also_there_unpacked_is_read_once(tmp_path: Path, grey_bundle: Path) -> None:
    folder = tmp_path / "data" / "raw"
    images = write_idx(folder, "train", 3, size=16)
    write_idx(folder, "train", 3, size=16, packed=True)
    np.testing.assert_array_equal(read_images([tmp_path / "data"], GREY)[..., 0], images)
    assert run("encode", tmp_path / "data", "--bundle", grey_bundle, "--out", tmp_path / "a.npz") == 0
    expected = Sampler(Bundle.open(grey_bundle)).encode(images[..., None])
    stored = codes(tmp_path / "a.npz")
    np.testing.assert_array_equal(stored["bottom"], expected["bottom"])
    assert stored["files"].tolist() == [f"{folder}/train-images-idx3-ubyte[{index}]" for index in range(3)]
    assert "labels" not in stored  # the bundle has no classes


def test_idx_files_that_cannot_be_used(
    tmp_path: Path, grey_bundle: Path, small_bundle: Path, fails: Callable[..., str]
) -> None:
    write_idx(tmp_path, "train", 3)
    file, out = tmp_path / "train-images-idx3-ubyte", ("--out", tmp_path / "a.npz")
    command = ("encode", file, "--bundle", grey_bundle, *out)
    assert f"{file} holds images of 13 x 13, expected 16 x 16; --resize adds a black border" in fails(2, *command)
    assert "holds grey images, as IDX files do, expected RGB" in fails(
        2, "encode", file, "--bundle", small_bundle, "--resize", *out
    )
    with pytest.raises(InputError, match="holds images of 13 x 13, expected at most 16 x 12"):
        read_images([file], (16, 12, 1), resize=True)
    labels = tmp_path / "train-labels-idx1-ubyte"
    assert f"{labels} cannot be read as IDX images: magic number 0x00000801, expected 0x00000803" in fails(
        2, "encode", labels, "--bundle", grey_bundle, *out
    )
    content = labels.read_bytes()
    labels.write_bytes(idx_bytes(np.zeros(2, np.uint8)))
    assert f"cannot be read as IDX images: {labels}: 2 labels, expected 3 as in {file.name}" in fails(2, *command)
    labels.write_bytes(content)
    file.write_bytes(file.read_bytes()[:-1])
    assert f"{file} cannot be read as IDX images: {15 + 3 * 169} bytes, expected" in fails(2, *command)
    file.write_bytes(idx_bytes(np.zeros((0, 13, 13), np.uint8)))
    labels.unlink()
    assert f"{file} holds no images, expected at least one" in fails(2, *command)
    file.unlink()
    os.mkfifo(file)
    assert f"{file} cannot be read as IDX images: not a file" in fails(2, *command)


@pytest.fixture
def classes_bundle(grey_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the grey bundle, to which a test adds classes."""
    return shutil.copytree(grey_bundle, tmp_path / "bundle")


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """RGB images of 32 x 48 in the folders of two classes of the small bundle, in train/ and test/."""
    for index, name in enumerate(("train/boot/a", "train/coat/b", "test/boot/c", "test/coat/d", "train/boot/e")):
        file = tmp_path / "classes" / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(index).integers(0, 256, (32, 48, 3), np.uint8)
        Image.fromarray(noise).save(file)
    return tmp_path / "classes"


def test_labels_are_the_names_of_the_folders(
    classes: Path,
    small_bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = ("encode", "--bundle", small_bundle, "--force", "--out", tmp_path / "a.npz")
    assert run(*command, classes, "--json") == 0
    expected = ["boot", "coat", "boot", "boot", "coat"]
    assert json.loads(capsys.readouterr().out)["labels"] == expected
    file = open_codes(tmp_path / "a.npz")
    assert file.per_image["labels"].tolist() == [2, 0, 2, 2, 0]
    assert file.labels(5, ()) == expected  # by name
    monkeypatch.chdir(classes / "train" / "boot")
    assert run(*command, "e.png") == 0
    assert codes(tmp_path / "a.npz")["labels"].tolist() == [2]
    capsys.readouterr()
    (classes / "train" / "boot").rename(classes / "train" / "shoe")
    assert run(*command, classes) == 0
    out, err = capsys.readouterr()
    assert err == "latentloop: labels are not stored: only 3 of 5 images have one of the bundle's classes\n"
    assert "with labels" not in out
    assert "labels" not in codes(tmp_path / "a.npz")
    assert run(*command, classes / "train" / "shoe") == 0
    assert capsys.readouterr().err == ""


def test_stored_labels_are_those_of_variations(
    classes: Path, small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, out = tmp_path / "a.npz", tmp_path / "b.npz"
    assert run("encode", classes, "--bundle", small_bundle, "--out", given) == 0
    assert "; with labels)" in capsys.readouterr().out
    command = ("sample", small_bundle, "--given", given, "--keep", "top", "--codes", out)
    assert run(*command, "--out", tmp_path / "a.png") == 0
    assert capsys.readouterr().err == ""
    assert codes(out)["labels"].tolist() == [2, 0, 2, 2, 0]


@pytest.mark.parametrize(("names", "expected"), [(["x", "y", "z"], [0, 1, 2, 0, 1]), (["x", "y"], None)])
def test_idx_labels_are_stored_if_the_bundle_has_such_classes(
    tmp_path: Path,
    classes_bundle: Path,
    names: list[str],
    expected: list[int] | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    edit_manifest(classes_bundle, "classes", value=names)
    write_idx(tmp_path, "train", 5, size=16, packed=True)
    assert run("encode", tmp_path, "--bundle", classes_bundle, "--out", tmp_path / "a.npz") == 0
    stored = codes(tmp_path / "a.npz")
    assert (stored["labels"].tolist() if "labels" in stored else None) == expected
    assert ("only 4 of 5 images have one" in capsys.readouterr().err) == (expected is None)


def test_memory_does_not_grow_with_the_size_of_an_idx_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PART", 8)
    write_idx(tmp_path, "train", 400, size=200, packed=True)
    arguments = argparse.Namespace(images=[tmp_path], resize=False, threads=1, skip_bad=False)
    tracemalloc.start()
    try:
        inputs = ImageInputs.check(arguments, (200, 200, 1))
        count = sum(len(images) for _, images in inputs.batches(4, "read", StopRequest()))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 400
    assert peak < 400 * 200 * 200 / 8
