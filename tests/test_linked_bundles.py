"""Bundles of links: they open and run like others, because digests verify the files that the links lead to."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import run
from corrupted_bundles import edit_manifest, error_of, read_manifest, replace_file
from embedded_bundles import Refused
from gpu_machines import Machines, check_same
from linked_bundles import LAYOUTS, Layout, blobs, objects

from latentloop import Bundle, Sampler
from latentloop.export.tensorrt.engine_sets import rewritten_bundle


@pytest.fixture
def bundle(small_bundle: Path, tmp_path: Path) -> Path:
    """A bundle of links to files, each of which is in its own folder."""
    return objects(small_bundle, tmp_path)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_bundle_of_links_runs_like_a_plain_one(layout: Layout, small_bundle: Path, tmp_path: Path) -> None:
    plain, linked = (Sampler(Bundle.open(path), "cpu", 2) for path in (small_bundle, layout(small_bundle, tmp_path)))
    expected = plain.sample(3, seeds=5, top_k=4)
    np.testing.assert_array_equal(linked.sample(3, seeds=5, top_k=4).images, expected.images)
    for name, codes in plain.encode(expected.images).items():
        np.testing.assert_array_equal(linked.encode(expected.images)[name], codes)
    classified = linked.classify(expected.images).probabilities
    np.testing.assert_array_equal(classified, plain.classify(expected.images).probabilities)


@pytest.mark.parametrize("name", ["weights.safetensors", "decoder.onnx", "manifest.json", "golden.npz"])
def test_one_file_of_a_bundle_may_be_a_link(name: str, small_bundle: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(small_bundle, tmp_path / "copy")
    (bundle / name).rename(tmp_path / "elsewhere")
    (bundle / name).symlink_to(tmp_path / "elsewhere")
    assert run("verify", bundle) == 0


def test_a_link_to_other_content_is_rejected(bundle: Path, refused: Refused) -> None:
    target = (bundle / "weights.safetensors").resolve()
    content = bytearray(target.read_bytes())
    content[-1] ^= 1
    target.write_bytes(content)
    assert f"{bundle / 'weights.safetensors'} has SHA-256" in refused(bundle)
    target.write_bytes(content[:-1])
    assert f"{bundle / 'weights.safetensors'} has {len(content) - 1} bytes" in refused(bundle)


@pytest.mark.parametrize("name", ["weights.safetensors", "manifest.json"])
def test_a_broken_link_is_named(bundle: Path, name: str, refused: Refused) -> None:
    path = bundle / name
    path.resolve().unlink()
    text = refused(bundle)
    assert f"{path} is a link to {os.readlink(path)}, which does not exist" in text
    assert "cp -rL" in text
    path.unlink()
    path.symlink_to(name)
    assert f"{path} is a link to {name}" in refused(bundle)


def test_a_broken_link_to_a_bundle_is_named(tmp_path: Path, refused: Refused) -> None:
    path = tmp_path / "bundle"
    path.symlink_to("moved")
    assert f"{path} is a link to moved, which does not exist" in refused(path)


@pytest.mark.parametrize("name", ["golden.npz", "manifest.json"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_a_link_to_something_other_than_a_file_is_rejected(
    bundle: Path, tmp_path: Path, name: str, kind: str, refused: Refused
) -> None:
    target = tmp_path / kind
    if kind == "pipe":
        os.mkfifo(target)
    elif kind == "folder":
        target.mkdir()
    else:
        target = Path("/dev/zero")
    (bundle / name).unlink()
    (bundle / name).symlink_to(target)
    text = refused(bundle)  # a read from the pipe would block
    assert str(bundle / name) in text
    assert "not a file" in text


def test_a_name_that_leads_out_of_the_bundle_is_rejected_even_if_the_content_is_correct(
    bundle: Path, refused: Refused
) -> None:
    target = (bundle / "golden.npz").resolve()
    record = read_manifest(bundle)["files"]["golden.npz"]
    for name in (os.path.relpath(target, bundle), str(target)):
        edit_manifest(bundle, "files", name, value=record)
        assert "not a plain file name" in refused(bundle)


@pytest.mark.parametrize("location", ["../weights.safetensors", "other.safetensors"])
def test_weights_that_the_manifest_does_not_list_are_not_read(
    bundle: Path, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = (bundle / "weights.safetensors").read_bytes()
    working_folder = bundle.parent / "work"
    working_folder.mkdir()
    monkeypatch.chdir(working_folder)
    for folder in (bundle.parent, working_folder):
        (folder / Path(location).name).write_bytes(weights)
    model = onnx.load(bundle / "decoder.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    replace_file(bundle, "decoder.onnx", model.SerializeToString())
    opened = Sampler(Bundle.open(bundle), "cpu", 1)
    codes = opened.encode(np.zeros((1, 32, 48, 3), np.uint8))
    assert "decoder.onnx" in error_of(lambda: opened.decode(codes))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_engines_of_a_bundle_of_links_run(
    layout: Layout, small_engines: Path, tmp_path: Path, machines: Machines
) -> None:
    expected = Sampler(Bundle.open(small_engines), "cpu", 1).sample(2, seeds=3)
    machines(providers=False)
    sampler = Sampler(Bundle.open(layout(small_engines, tmp_path)), "tensorrt", 1)
    check_same(sampler.sample(2, seeds=3), expected)


@pytest.mark.parametrize("name", ["decoder.plan", "manifest.json"])
def test_a_broken_link_to_an_engine_is_named(
    small_engines: Path, tmp_path: Path, machines: Machines, fails: Callable[..., str], name: str
) -> None:
    bundle = blobs(small_engines, tmp_path)
    for path in (bundle / "engines").glob(f"*_float32/{name}"):
        path.resolve().unlink()
    machines(providers=False)
    arguments = ("--bundle", bundle, "--device", "tensorrt", "--out", tmp_path / "x.png")
    assert f"{name} is a link to ../" in fails(1, "sample", "-n", "1", *arguments)


def test_engines_are_built_from_a_bundle_of_links(bundle: Path, small_bundle: Path) -> None:
    with (
        rewritten_bundle(Bundle.open(bundle), "float16") as linked,
        rewritten_bundle(Bundle.open(small_bundle), "float16") as plain,
    ):
        assert linked.levels == plain.levels
        for pair in zip(linked.sources, plain.sources, strict=True):
            weights = [source.graph.with_name("weights.bin").read_bytes() for source in pair]
            assert weights[0] == weights[1]
