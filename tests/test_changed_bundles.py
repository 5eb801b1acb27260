"""Bundles whose files change once they are open: what was not verified is never used."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gpu_machines import Machines
from linked_bundles import files_of, mounted
from spoilt_bundles import refusal

from latentloop import Bundle, Sampler
from latentloop.backends.cpu.session import bundle_session

CHANGED = "has changed since the bundle was opened: open the bundle again"


@pytest.fixture
def bundle(small_bundle: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return shutil.copytree(small_bundle, tmp_path / "copy")


def deploy(folder: Path, change: Callable[[Path], object]) -> None:
    """Another version in a mounted folder, with one link replaced."""
    shutil.copytree(folder / "..2024_01_01", folder / "..2024_01_02")
    change(folder / "..2024_01_02")
    (folder / "..new").symlink_to("..2024_01_02")
    (folder / "..new").rename(folder / "..data")


def other(path: Path) -> None:
    """Other content of the same size."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def touch(folder: Path) -> None:
    for file in files_of(folder):
        file.touch()


def in_place_with_its_time(path: Path) -> None:
    status = path.stat()
    other(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("name", ["weights.safetensors", "top.row.onnx"])
def test_another_version_under_the_same_path_is_not_used(small_bundle: Path, tmp_path: Path, name: str) -> None:
    path = mounted(small_bundle, tmp_path)
    sampler = Sampler(Bundle.open(path), "cpu", 1)
    deploy(path, lambda version: other(version / name))
    for _ in range(2):
        assert refusal(lambda: sampler.sample(1)) == f"{path / name} {CHANGED}"


def test_the_same_version_deployed_again_is_used(small_bundle: Path, tmp_path: Path) -> None:
    path = mounted(small_bundle, tmp_path)
    sampler, expected = Sampler(Bundle.open(path), "cpu", 1), Sampler(Bundle.open(small_bundle), "cpu", 1)
    deploy(path, touch)
    np.testing.assert_array_equal(sampler.sample(1, seeds=3).images, expected.sample(1, seeds=3).images)


@pytest.mark.parametrize("change", [other, in_place_with_its_time, Path.unlink, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("name", ["decoder.onnx", "weights.safetensors", "golden.npz"])
def test_a_changed_file_is_not_used(bundle: Path, name: str, change: Callable[[Path], object]) -> None:
    sampler = Sampler(Bundle.open(bundle), "cpu", 1)
    change(bundle / name)
    use = sampler.bundle.golden if name == "golden.npz" else lambda: bundle_session(sampler.bundle, "decoder.onnx", 1)
    assert refusal(use) == f"{bundle / name} {CHANGED}"


def test_a_graph_that_changes_while_it_is_loaded_is_not_kept(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, whole = Bundle.open(bundle), Path.read_bytes(bundle / "weights.safetensors")

    class Slow:
        def __init__(self, *arguments: object) -> None:
            other(bundle / "weights.safetensors")

    with monkeypatch.context() as patched:
        patched.setattr("latentloop.backends.cpu.session.OrtSession", Slow)
        assert CHANGED in refusal(lambda: bundle_session(opened, "decoder.onnx", 1))
    (bundle / "weights.safetensors").write_bytes(whole)
    assert not isinstance(bundle_session(opened, "decoder.onnx", 1), Slow)


def test_what_is_loaded_already_goes_on(bundle: Path) -> None:
    sampler = Sampler(Bundle.open(bundle), "cpu", 1)
    expected = sampler.sample(1, seeds=1)
    for file in files_of(bundle):
        file.rename(file.with_suffix(".old"))
    np.testing.assert_array_equal(sampler.sample(1, seeds=1).images, expected.images)


@pytest.mark.parametrize("change", [other, Path.unlink])
def test_an_engine_that_changed_is_not_used(
    small_engines: Path, tmp_path: Path, machines: Machines, change: Callable[[Path], object]
) -> None:
    path = shutil.copytree(small_engines, tmp_path / "copy")
    machines(providers=False)
    sampler = Sampler(Bundle.open(path), "tensorrt", 1)
    for plan in (path / "engines").glob("*/decoder.plan"):
        change(plan)
    assert f"decoder.plan {CHANGED}" in refusal(lambda: sampler.sample(1))


def test_a_gpu_s_graph_that_changed_is_not_used(bundle: Path, machines: Machines) -> None:
    machines()
    sampler = Sampler(Bundle.open(bundle), "cuda", 1)
    other(bundle / "weights.safetensors")
    assert f"weights.safetensors {CHANGED}" in refusal(lambda: sampler.sample(1))
