"""Bundles from elsewhere: whatever a bundle's directory holds, it opens as what it says or a BundleError says why."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from latentloop.bundle import Bundle
from latentloop.errors import BundleError, LatentLoopError
from latentloop.manifest import from_json
from latentloop.sampler import Sampler

FILES = (
    *("encoder.onnx", "decoder.onnx", "golden.npz", "weights.safetensors"),
    *(f"{level}.{role}.onnx" for level in ("top", "bottom") for role in ("condition", "row", "step", "step_filtered")),
)
Key = str | int


@pytest.fixture
def bundle(small_bundle: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return shutil.copytree(small_bundle, tmp_path / "copy")


def read(bundle: Path) -> Any:
    return json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))


def edit(bundle: Path, *keys: Key, value: Any) -> None:
    """Sets one field of the manifest."""
    manifest = read(bundle)
    put(manifest, keys, value)
    (bundle / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def put(manifest: Any, keys: tuple[Key, ...], value: Any) -> None:
    for key in keys[:-1]:
        manifest = manifest[key]
    manifest[keys[-1]] = value


def replace(bundle: Path, name: str, content: bytes) -> None:
    """Another content, and the manifest says so."""
    (bundle / name).write_bytes(content)
    record = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    edit(bundle, "files", name, value=record)


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(BundleError) as caught:
        action()
    return str(caught.value)


def test_the_manifest_lists_every_file_of_the_bundle(bundle: Path) -> None:
    assert set(read(bundle)["files"]) == set(FILES) == {file.name for file in bundle.iterdir()} - {"manifest.json"}


@pytest.mark.parametrize("name", FILES)
def test_a_changed_file_is_refused_by_name(bundle: Path, name: str) -> None:
    path = bundle / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    text = refusal(lambda: Bundle.open(bundle))
    assert all(part in text for part in (str(path), str(len(whole)), str(len(whole) - 1)))
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    text = refusal(lambda: Bundle.open(bundle))
    assert str(path) in text
    assert "SHA-256" in text
    path.unlink()
    assert f"{path} is missing" in refusal(lambda: Bundle.open(bundle))
    path.mkdir()
    assert str(path) in refusal(lambda: Bundle.open(bundle))


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "sub/x", "..\\x", "x\0y", "..", ".", "", "./x", "x/"])
def test_a_file_name_that_may_leave_the_bundle_is_refused(bundle: Path, name: str) -> None:
    for place in ((bundle.parent / "x"), (bundle / "x")):
        place.write_bytes(b"")
    record = {"size": 0, "sha256": hashlib.sha256(b"").hexdigest()}
    edit(bundle, "files", name, value=record)
    text = refusal(lambda: Bundle.open(bundle))
    assert "manifest.json" in text
    assert repr(name) in text


def test_a_link_out_of_the_bundle_is_refused(bundle: Path) -> None:
    outside = bundle.parent / "outside"
    path = bundle / "golden.npz"
    path.rename(outside)
    path.symlink_to(outside)
    assert f"{path} is a link that leaves" in refusal(lambda: Bundle.open(bundle))
    path.unlink()
    path.symlink_to(path)  # a loop
    assert str(path) in refusal(lambda: Bundle.open(bundle))
    path.unlink()
    outside.rename(bundle / "inside")
    path.symlink_to("inside")
    assert Bundle.open(bundle).golden()


def test_a_file_name_too_long_for_the_file_system_is_refused(bundle: Path) -> None:
    edit(bundle, "files", "x" * 5000, value={"size": 0, "sha256": ""})
    assert "xxx" in refusal(lambda: Bundle.open(bundle))


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "7", "null", '"x"', "NaN", "\ufeff{}", "[" * 100_000, '{"version": ' * 100_000, "9" * 5000]
    + ['{"format": ' + "[" * 900 + "]" * 900 + "}"],
    ids=["empty", "cut", "list", "number", "null", "text", "nan", "mark", "deep", "deep-object", "huge", "deep-field"],
)
def test_a_manifest_that_is_no_object_is_refused(bundle: Path, text: str) -> None:
    (bundle / "manifest.json").write_text(text, encoding="utf-8")
    assert "manifest.json" in refusal(lambda: Bundle.open(bundle))


def test_what_is_not_a_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    manifest = bundle / "manifest.json"
    assert "no such directory" in refusal(lambda: Bundle.open(tmp_path / "absent"))
    assert str(manifest) in refusal(lambda: Bundle.open(manifest))
    manifest.write_bytes(b"\xff\xfe\x00")
    assert str(manifest) in refusal(lambda: Bundle.open(bundle))
    manifest.write_bytes(b" " * (16 * 2**20 + 1))
    assert "larger than" in refusal(lambda: Bundle.open(bundle))
    manifest.unlink()
    assert f"{manifest} is missing" in refusal(lambda: Bundle.open(bundle))
    manifest.mkdir()
    assert str(manifest) in refusal(lambda: Bundle.open(bundle))
    manifest.rmdir()
    os.mkfifo(manifest)  # would be read for ever
    assert str(manifest) in refusal(lambda: Bundle.open(bundle))


def scalars(value: Any, keys: tuple[Key, ...] = ()) -> Iterator[tuple[tuple[Key, ...], Any]]:
    """Every scalar with its place; ``provenance`` is free."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            if (*keys, key) != ("provenance",):
                yield from scalars(inner, (*keys, key))
    else:
        yield keys, value


@pytest.mark.parametrize(
    "wrong", [None, True, -1, 1.5, 10**400, "\ud800", [], [[]], {}], ids=lambda value: repr(value)[:9]
)
def test_every_field_of_a_wrong_type_is_named(small_bundle: Path, wrong: Any) -> None:
    manifest = read(small_bundle)
    missed, count = [], 0
    for keys, old in scalars(manifest):
        free_text = isinstance(old, str) and isinstance(wrong, str)
        right = isinstance(wrong, type(old)) and type(wrong) is type(old) and (isinstance(wrong, bool) or free_text)
        if right or (wrong is None and keys[-1] == "condition_level"):
            continue
        put(manifest, keys, wrong)
        name = next(key for key in reversed(keys) if isinstance(key, str))
        try:
            from_json(manifest, "manifest.json")
            missed.append(f"{keys}: accepted")
        except BundleError as error:
            if "manifest.json" not in str(error) or name not in str(error) or len(str(error)) > 400:
                missed.append(f"{keys}: {error}")
        put(manifest, keys, old)
        count += 1
    assert not missed
    assert count > 300


def test_every_required_field_is_named_when_missing(small_bundle: Path) -> None:
    manifest = read(small_bundle)
    optional = {"licence", "provenance"}
    for keys in [
        *((key,) for key in manifest if key not in optional),
        *(("levels", 1, key) for key in manifest["levels"][1] if key != "prior"),
        *(("levels", 1, "prior", key) for key in manifest["levels"][1]["prior"] if key != "condition_level"),
        *(("levels", 1, "prior", "memories", 0, key) for key in manifest["levels"][1]["prior"]["memories"][0]),
        ("levels", 0, "prior", "graphs", "step"),
        ("files", "golden.npz"),
        ("files", "golden.npz", "sha256"),
    ]:
        spoilt = json.loads(json.dumps(manifest))
        parent = spoilt
        for key in keys[:-1]:
            parent = parent[key]
        del parent[keys[-1]]
        with pytest.raises(BundleError, match=str(keys[-1])):
            from_json(spoilt, "manifest.json")


MEMORIES = ("levels", 0, "prior", "memories")
ROW = ("levels", 0, "prior", "graphs", "row", "inputs", 0)


@pytest.mark.parametrize(
    ("keys", "value", "expected"),
    [
        (("version",), 2, "version is 2, this LatentLoop reads 1"),
        (("format",), "other", "format is 'other'"),
        (("precision",), "int3", "precision is 'int3'"),
        (("levels", 0, "height"), 5, "top has the grid 5 x 6, expected 4 x 6"),
        (("levels", 1, "width"), 11, "bottom has the grid 8 x 11, expected 8 x 12"),
        (("image",), [32, 64, 3], "bottom has the grid 8 x 12"),
        (("image",), [36, 48, 3], "bottom"),
        (("image",), [32, 48], "image"),
        (("image",), [2**20, 2**20, 3], "image"),
        (("levels",), [], "levels is empty"),
        (("levels", 0, "name"), "bottom", "two are called 'bottom'"),
        (("levels", 1, "prior", "condition_level"), "bottom", "conditioned on 'bottom', expected 'top'"),
        (("levels", 0, "prior", "condition_level"), "top", "conditioned on 'top'"),
        (("levels", 0, "prior", "columns_per_step"), 2, "columns_per_step is 2"),
        (("levels", 0, "prior", "graphs", "jump"), {"file": "x", "inputs": [], "outputs": []}, "jump"),
        (("levels", 0, "prior", "graphs", "row", "file"), "absent.onnx", "does not list absent.onnx"),
        (("classes",), [], "classes is empty"),
        ((*MEMORIES, 0, "name"), "kodes", "'codes' is missing"),
        ((*MEMORIES, 1, "name"), "codes", "two are called 'codes'"),
        ((*MEMORIES, 6, "name"), "raw", "'row' is missing"),
        ((*MEMORIES, 13, "shape"), [6, "batch", 12], "'logits' is float32 [6, 'batch', 12]"),
        ((*MEMORIES, 1, "shape", 0), 2**40, "values for one sample"),
        ((*MEMORIES, 1, "shape", 1), 11, "'residual' is [4, 11"),
        ((*MEMORIES, 1, "shape", 2), "columns", "shape"),
        ((*MEMORIES, 1, "shape"), [4, 10] + [1] * 60, "shape"),
        ((*MEMORIES, 1, "padding"), 3, "'residual'"),
        ((*MEMORIES, 1, "dtype"), "float16", "dtype is 'float16'"),
        ((*ROW, "memory"), "nothing", "names the memory 'nothing'"),
        ((*ROW, "view"), "sideways", "view is 'sideways'"),
        ((*ROW, "view"), "window", "no ring"),
    ],
)  # fmt: skip
def test_a_manifest_that_contradicts_itself_is_refused(
    bundle: Path, keys: tuple[Key, ...], value: Any, expected: str
) -> None:
    edit(bundle, *keys, value=value)
    text = refusal(lambda: Bundle.open(bundle))
    assert str(bundle / "manifest.json") in text
    assert expected in text


def test_a_graph_that_is_not_onnx_is_refused_when_used(bundle: Path) -> None:
    replace(bundle, "top.row.onnx", b"no graph at all")
    replace(bundle, "decoder.onnx", b"")
    opened = Sampler(Bundle.open(bundle), threads=1)
    assert str(bundle / "top.row.onnx") in refusal(lambda: opened.sample(1))
    codes = opened.encode(np.zeros((1, 32, 48, 3), np.uint8))
    assert str(bundle / "decoder.onnx") in refusal(lambda: opened.decode(codes))


def test_a_graph_in_another_ones_place_is_refused_when_used(bundle: Path) -> None:
    edit(bundle, "decoder", value="encoder.onnx")
    edit(bundle, "levels", 0, "prior", "graphs", "row", "file", value="bottom.row.onnx")
    opened = Sampler(Bundle.open(bundle), threads=1)
    codes = opened.encode(np.zeros((1, 32, 48, 3), np.uint8))
    assert "encoder.onnx does not fit the manifest" in refusal(lambda: opened.decode(codes))
    assert "the prior of top does not fit the manifest" in refusal(lambda: opened.sample(1))


def test_weights_outside_the_bundle_are_not_read(bundle: Path) -> None:
    shutil.copy(bundle / "weights.safetensors", bundle.parent / "weights.safetensors")
    model = onnx.load(bundle / "decoder.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../weights.safetensors"
    replace(bundle, "decoder.onnx", model.SerializeToString())
    opened = Sampler(Bundle.open(bundle), threads=1)
    codes = opened.encode(np.zeros((1, 32, 48, 3), np.uint8))
    assert "decoder.onnx" in refusal(lambda: opened.decode(codes))


def test_pickled_golden_vectors_are_refused(bundle: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            return os.mkdir, (str(bundle.parent / "sprung"),)

    np.savez(bundle / "golden.npz", allow_pickle=True, trap=np.array([Trap()], object))
    replace(bundle, "golden.npz", (bundle / "golden.npz").read_bytes())
    assert "golden.npz" in refusal(Bundle.open(bundle).golden)
    assert not (bundle.parent / "sprung").exists()
    replace(bundle, "golden.npz", b"PK\x03\x04 cut")
    assert "golden.npz" in refusal(Bundle.open(bundle).golden)


def test_fields_in_any_order_are_the_same_manifest(small_bundle: Path) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: shuffled(value[key]) for key in reversed(value)}
        return [shuffled(item) for item in value] if isinstance(value, list) else value

    manifest = read(small_bundle)
    assert from_json(shuffled(manifest), "manifest.json") == from_json(manifest, "manifest.json")


def test_a_moved_bundle_draws_the_same(bundle: Path, small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = Sampler(Bundle.open(small_bundle), threads=1).sample(1, seeds=5)
    place = bundle.parent / "with space" / "ünïcode"
    place.parent.mkdir()
    bundle.rename(place)
    monkeypatch.chdir(place.parent)
    found = Sampler(Bundle.open("ünïcode"), threads=1).sample(1, seeds=5)
    np.testing.assert_array_equal(found.images, expected.images)


def test_two_bundles_of_one_path_are_independent(small_bundle: Path) -> None:
    first, second = Bundle.open(small_bundle), Bundle.open(str(small_bundle))
    assert first.manifest == second.manifest
    assert first.graph("top.row.onnx", 1) is first.graph("top.row.onnx", 1)
    assert first.graph("top.row.onnx", 1) is not second.graph("top.row.onnx", 1)
