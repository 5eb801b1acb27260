"""Corrupted and hostile bundles: BundleError names what is wrong, when the bundle is opened or when it is used."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from corrupted_bundles import edit_manifest, error_of, read_manifest, replace_file
from embedded_bundles import Refused

from latentloop.backends.cpu.session import bundle_session
from latentloop.bundles.bundle import Bundle
from latentloop.bundles.manifest import GRAPHS, PRECISIONS, graph_name
from latentloop.errors import InputError
from latentloop.sampling.sampler import Sampler

FILES = (
    *("encoder.onnx", "decoder.onnx", "classifier.onnx", "golden.npz", "weights.safetensors"),
    *(f"{level}.condition.onnx" for level in ("top", "bottom")),
    *(
        f"{level}.{graph_name(role, precision)}.onnx"
        for level in ("top", "bottom")
        for role in GRAPHS
        for precision in PRECISIONS
    ),
)


@pytest.fixture
def bundle(small_bundle: Path, tmp_path: Path) -> Path:
    """A copy that a test may corrupt."""
    return shutil.copytree(small_bundle, tmp_path / "copy")


def test_the_manifest_lists_every_file_of_the_bundle(bundle: Path) -> None:
    assert (
        set(read_manifest(bundle)["files"])
        == set(FILES)
        == {file.name for file in bundle.iterdir()} - {"manifest.json"}
    )


@pytest.mark.parametrize("name", FILES)
def test_a_corrupted_or_missing_file_is_rejected_by_name(bundle: Path, name: str, refused: Refused) -> None:
    path = bundle / name
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    text = refused(bundle)
    assert all(part in text for part in (str(path), str(len(content)), str(len(content) - 1)))
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    text = refused(bundle)
    assert str(path) in text
    assert "SHA-256" in text
    path.unlink()
    assert f"{path} is missing" in refused(bundle)
    path.mkdir()
    assert str(path) in refused(bundle)


@pytest.mark.parametrize("path", [None, 3, b"bundle", ["bundle"], [10**5000]], ids=range(5))
def test_an_argument_that_is_not_a_path_is_rejected(path: Any) -> None:
    with pytest.raises(InputError, match=r"^path is .*, expected a str or a Path"):
        Bundle.open(path)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "sub/x", "..\\x", "x\0y", "..", ".", "", "./x", "x/"])
def test_a_file_name_that_could_lead_out_of_the_bundle_is_rejected(bundle: Path, name: str, refused: Refused) -> None:
    for path in (bundle.parent / "x", bundle / "x"):
        path.write_bytes(b"")
    record = {"size": 0, "sha256": hashlib.sha256(b"").hexdigest()}
    edit_manifest(bundle, "files", name, value=record)
    text = refused(bundle)
    assert "manifest.json" in text
    assert repr(name) in text


def test_a_file_name_too_long_for_the_file_system_is_rejected(bundle: Path, refused: Refused) -> None:
    edit_manifest(bundle, "files", "x" * 5000, value={"size": 0, "sha256": ""})
    assert "xxx" in refused(bundle)


INVALID_MANIFESTS = {
    "empty": "",
    "cut": "{",
    "list": "[]",
    "number": "7",
    "null": "null",
    "text": '"x"',
    "nan": "NaN",
    "byte-order-mark": "\ufeff{}",
    "deep-list": "[" * 100_000,
    "deep-object": '{"version": ' * 100_000,
    "deep-field": f'{{"format": {"[" * 900}{"]" * 900}}}',
    "huge-number": "9" * 5000,
}


@pytest.mark.parametrize("text", INVALID_MANIFESTS.values(), ids=INVALID_MANIFESTS)
def test_a_manifest_that_is_not_a_json_object_is_rejected(bundle: Path, text: str, refused: Refused) -> None:
    (bundle / "manifest.json").write_text(text, encoding="utf-8")
    assert "manifest.json" in refused(bundle)


def test_a_path_that_is_not_a_bundle_is_rejected(bundle: Path, tmp_path: Path, refused: Refused) -> None:
    manifest = bundle / "manifest.json"
    assert "no such directory" in refused(tmp_path / "absent")
    assert str(manifest) in refused(manifest)
    manifest.write_bytes(b"\xff\xfe\x00")
    assert str(manifest) in refused(bundle)
    manifest.write_bytes(b" " * (16 * 2**20 + 1))
    assert "larger than" in refused(bundle)
    manifest.unlink()
    assert f"{manifest} is missing" in refused(bundle)
    manifest.mkdir()
    assert str(manifest) in refused(bundle)
    manifest.rmdir()
    os.mkfifo(manifest)  # reading it would block
    assert str(manifest) in refused(bundle)


def test_a_graph_that_is_not_onnx_is_rejected_when_used(bundle: Path) -> None:
    replace_file(bundle, "top.row.onnx", b"no graph at all")
    replace_file(bundle, "decoder.onnx", b"")
    opened = Sampler(Bundle.open(bundle), threads=1)
    assert str(bundle / "top.row.onnx") in error_of(lambda: opened.sample(1))
    codes = opened.encode(np.zeros((1, 32, 48, 3), np.uint8))
    assert str(bundle / "decoder.onnx") in error_of(lambda: opened.decode(codes))


def test_a_graph_of_another_role_is_rejected_when_used(bundle: Path) -> None:
    replace_file(bundle, "decoder.onnx", (bundle / "encoder.onnx").read_bytes())
    edit_manifest(bundle, "levels", 0, "prior", "graphs", "row", "file", value="bottom.row.onnx")
    opened = Sampler(Bundle.open(bundle), threads=1)
    codes = opened.encode(np.zeros((1, 32, 48, 3), np.uint8))
    assert "decoder.onnx: the decoder's inputs are images, expected from the manifest top, bottom" in error_of(
        lambda: opened.decode(codes)
    )
    assert "bottom.row.onnx: inputs of graph and manifest differ" in error_of(lambda: opened.sample(1))


def test_weights_outside_the_bundle_are_not_read(bundle: Path) -> None:
    shutil.copy(bundle / "weights.safetensors", bundle.parent / "weights.safetensors")
    model = onnx.load(bundle / "decoder.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../weights.safetensors"
    replace_file(bundle, "decoder.onnx", model.SerializeToString())
    opened = Sampler(Bundle.open(bundle), threads=1)
    codes = opened.encode(np.zeros((1, 32, 48, 3), np.uint8))
    assert "decoder.onnx" in error_of(lambda: opened.decode(codes))


def test_pickled_golden_vectors_are_rejected(bundle: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            return os.mkdir, (str(bundle.parent / "sprung"),)

    np.savez(bundle / "golden.npz", allow_pickle=True, trap=np.array([Trap()], object))
    replace_file(bundle, "golden.npz", (bundle / "golden.npz").read_bytes())
    assert "golden.npz" in error_of(Bundle.open(bundle).golden)
    assert not (bundle.parent / "sprung").exists()
    replace_file(bundle, "golden.npz", b"PK\x03\x04 cut")
    assert "golden.npz" in error_of(Bundle.open(bundle).golden)


def test_a_moved_bundle_draws_the_same_images(
    bundle: Path, small_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = Sampler(Bundle.open(small_bundle), threads=1).sample(1, seeds=5)
    new_path = bundle.parent / "with space" / "ünïcode"
    new_path.parent.mkdir()
    bundle.rename(new_path)
    monkeypatch.chdir(new_path.parent)
    samples = Sampler(Bundle.open("ünïcode"), threads=1).sample(1, seeds=5)
    np.testing.assert_array_equal(samples.images, expected.images)


def test_bundles_of_the_same_path_share_no_sessions(small_bundle: Path) -> None:
    first, second = Bundle.open(small_bundle), Bundle.open(str(small_bundle))
    assert first.manifest == second.manifest
    assert bundle_session(first, "top.row.onnx", 1) is bundle_session(first, "top.row.onnx", 1)
    assert bundle_session(first, "top.row.onnx", 1) is not bundle_session(second, "top.row.onnx", 1)


def test_a_file_in_place_of_the_directory_is_named(small_bundle: Path, refused: Refused) -> None:
    text = refused(small_bundle / "manifest.json")
    assert text.startswith(f"{small_bundle / 'manifest.json'}: not a directory; a bundle is the directory")


def test_a_manifest_that_cannot_be_read_is_named(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    text = error_of(lambda: Bundle.open(bundle))
    assert text == f"{bundle / 'manifest.json'}: cannot be read: Permission denied"
