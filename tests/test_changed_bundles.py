"""Bundles whose files change after they were opened: files that were not verified are never used."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from changed_bundles import CHANGED, CHANGES, change_byte, deploy, touch
from corrupted_bundles import error_of
from gpu_machines import Machines
from linked_bundles import files_of, mounted

from latentloop import Bundle, Sampler
from latentloop.backends.cpu.session import bundle_session
from latentloop.backends.onnxruntime import open_session


@pytest.fixture
def bundle(small_bundle: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return shutil.copytree(small_bundle, tmp_path / "copy")


@pytest.mark.parametrize("name", ["weights.safetensors", "top.row.onnx"])
def test_a_version_deployed_to_the_same_path_is_not_used(small_bundle: Path, tmp_path: Path, name: str) -> None:
    path = mounted(small_bundle, tmp_path)
    sampler = Sampler(Bundle.open(path), "cpu", 1)
    deploy(path, lambda version: change_byte(version / name))
    for _ in range(2):
        assert error_of(lambda: sampler.sample(1)) == f"{path / name} {CHANGED}"


def test_the_same_version_deployed_again_is_used(small_bundle: Path, tmp_path: Path) -> None:
    path = mounted(small_bundle, tmp_path)
    sampler, expected = Sampler(Bundle.open(path), "cpu", 1), Sampler(Bundle.open(small_bundle), "cpu", 1)
    deploy(path, touch)
    np.testing.assert_array_equal(sampler.sample(1, seeds=3).images, expected.sample(1, seeds=3).images)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["decoder.onnx", "weights.safetensors", "golden.npz"])
def test_a_changed_file_is_not_used(bundle: Path, name: str, change: Callable[[Path], object]) -> None:
    sampler = Sampler(Bundle.open(bundle), "cpu", 1)
    change(bundle / name)
    use = sampler.bundle.golden if name == "golden.npz" else lambda: bundle_session(sampler.bundle, "decoder.onnx", 1)
    assert error_of(use) == f"{bundle / name} {CHANGED}"


def test_a_graph_that_changes_while_it_is_loaded_is_not_cached(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, weights = Bundle.open(bundle), Path.read_bytes(bundle / "weights.safetensors")

    def open_then_change(*arguments: Any) -> Any:
        session = open_session(*arguments)
        change_byte(bundle / "weights.safetensors")
        return session

    with monkeypatch.context() as patch:
        patch.setattr("latentloop.backends.onnxruntime.open_session", open_then_change)
        assert CHANGED in error_of(lambda: bundle_session(opened, "decoder.onnx", 1))
        assert CHANGED in error_of(lambda: bundle_session(opened, "decoder.onnx", 1))
    (bundle / "weights.safetensors").write_bytes(weights)
    assert bundle_session(opened, "decoder.onnx", 1).outputs == {"images", "decoded"}


def test_loaded_graphs_do_not_need_their_files(bundle: Path) -> None:
    sampler = Sampler(Bundle.open(bundle), "cpu", 1)
    expected = sampler.sample(1, seeds=1)
    for file in files_of(bundle):
        file.rename(file.with_suffix(".old"))
    np.testing.assert_array_equal(sampler.sample(1, seeds=1).images, expected.images)


@pytest.mark.parametrize("change", [change_byte, Path.unlink])
def test_a_changed_engine_is_not_used(
    small_engines: Path, tmp_path: Path, machines: Machines, change: Callable[[Path], object]
) -> None:
    path = shutil.copytree(small_engines, tmp_path / "copy")
    machines(providers=False)
    sampler = Sampler(Bundle.open(path), "tensorrt", 1)
    for plan in (path / "engines").glob("*/decoder.plan"):
        change(plan)
    assert f"decoder.plan {CHANGED}" in error_of(lambda: sampler.sample(1))


def test_changed_weights_are_not_used_on_a_gpu(bundle: Path, machines: Machines) -> None:
    machines()
    sampler = Sampler(Bundle.open(bundle), "cuda", 1)
    change_byte(bundle / "weights.safetensors")
    assert f"weights.safetensors {CHANGED}" in error_of(lambda: sampler.sample(1))
