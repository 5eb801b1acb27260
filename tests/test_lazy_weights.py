"""Weights that stay in their files until they are used: they equal those that are read at once, in all that is made."""

from __future__ import annotations

import os
import re
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import common_layout_files
import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import vqvae_checkpoint
from numpy.typing import NDArray
from random_models import CLASSES, CONDITION, PRIORS, SMALL, plain_weights, random_prior
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from latentloop import CheckpointError, InputError
from latentloop.export.bundle import BundleSource, write_bundle
from latentloop.export.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from latentloop.export.checkpoints.codes_digest import codes_digest
from latentloop.export.checkpoints.lazy_arrays import LazyArray, LazyWeights, in_memory, weights_of
from latentloop.export.checkpoints.tensor_file import write_tensors
from latentloop.export.configuration import PriorConfig, VqvaeConfig
from latentloop.export.graphs.builder import WeightStore
from latentloop.export.layouts.reading import read_prior, read_vqvae
from latentloop.export.models.build import build_prior
from latentloop.export.rounding import round_weights
from latentloop.export.specification.golden import golden_prior
from latentloop.export.specification.rowstep_weights import arrange

KEPT = "latentloop.export.checkpoints.lazy_arrays.KEPT"
LAYOUT = common_layout_files.PRIORS["top-k3"]


@pytest.fixture
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model counts as large."""
    monkeypatch.setattr(KEPT, -1)


def prior_checkpoint(config: PriorConfig) -> Checkpoint:
    weights = plain_weights(random_prior(config))
    return Checkpoint(config, {name: value.astype(np.float32) for name, value in weights.items()})


def own_float32(folder: Path) -> Path:
    save_checkpoint(folder / "own.safetensors", prior_checkpoint(PRIORS["middle-attention-k5"]))
    return folder / "own.safetensors"


def own_float16(folder: Path) -> Path:
    rounded = round_weights(prior_checkpoint(PRIORS["middle-attention-k5"]), "float16")
    save_checkpoint(folder / "own.safetensors", rounded, dtype="float16")
    return folder / "own.safetensors"


def layout_zip(folder: Path) -> Path:
    return common_layout_files.save(folder / "prior.pt", common_layout_files.random_prior(LAYOUT))


def layout_legacy(folder: Path) -> Path:
    torch.save(common_layout_files.random_prior(LAYOUT), folder / "prior.pt", _use_new_zipfile_serialization=False)
    return folder / "prior.pt"


def layout_safetensors(folder: Path) -> Path:
    safetensors.torch.save_file(common_layout_files.random_prior(LAYOUT), folder / "prior.safetensors")
    return folder / "prior.safetensors"


FILES = [own_float32, own_float16, layout_zip, layout_legacy, layout_safetensors]


@pytest.mark.parametrize("write", FILES)
def test_lazy_weights_equal_weights_that_are_kept(
    write: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path)
    kept = read_prior(path)
    assert isinstance(kept.weights, dict)
    monkeypatch.setattr(KEPT, -1)
    lazy = read_prior(path)
    assert isinstance(lazy.weights, LazyWeights)
    assert (lazy.config, lazy.provenance, list(lazy.weights)) == (kept.config, kept.provenance, list(kept.weights))
    assert len(lazy.weights) == len(kept.weights)
    assert "logits.weight" in lazy.weights
    assert "logits.wait" not in lazy.weights
    assert lazy.weights.get("logits.wait") is None
    for name, value in lazy.weights.items():
        assert value.dtype == np.float32
        assert lazy.weights.arrays[name].shape == value.shape
        np.testing.assert_array_equal(value, kept.weights[name])
        assert lazy.weights[name] is not value
    one, two = (build_prior(each, path).state_dict() for each in (kept, lazy))
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_only_small_models_are_kept() -> None:
    read: list[str] = []

    def array(name: str, nbytes: int) -> LazyArray:
        def values() -> NDArray[Any]:
            read.append(name)
            return np.zeros(nbytes // 4, np.float32)

        return LazyArray((nbytes // 4,), values)

    assert weights_of({"a": array("a", 1 << 25), "b": array("b", 1 << 25)}).keys() == {"a", "b"}
    assert read == ["a", "b"]
    large = {"a": array("a", 1 << 25), "b": array("b", (1 << 25) + 4)}
    weights = weights_of(large)
    assert read == ["a", "b"]
    assert isinstance(weights_of(large, check=True), LazyWeights)
    assert read == ["a", "b"] * 2
    assert weights["b"].size == (1 << 23) + 1


def rewrite_in_place(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 100)


def replace_file(path: Path) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(path.read_bytes())
    new.replace(path)


@pytest.mark.parametrize("write", FILES)
@pytest.mark.parametrize("change", [rewrite_in_place, cut_short, replace_file, Path.unlink])
@pytest.mark.usefixtures("nothing_kept")
def test_a_file_that_changes_is_an_error(
    write: Callable[[Path], Path], change: Callable[[Path], None], tmp_path: Path
) -> None:
    path = write(tmp_path)
    prior = read_prior(path)
    prior.weights["logits.weight"]
    status = path.stat()
    change(path)
    if change is not Path.unlink:  # a time of change that differs, even on a file system with coarse times
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    with pytest.raises(CheckpointError, match=rf"{path.name} (was written again|cannot be read any more \(No such)"):
        prior.weights["logits.weight"]


@pytest.mark.parametrize("write", [layout_zip, layout_legacy, layout_safetensors])
@pytest.mark.usefixtures("nothing_kept")
def test_pages_of_a_file_leave_the_memory_when_a_tensor_is_read(write: Callable[[Path], Path], tmp_path: Path) -> None:
    path = write(tmp_path)
    prior = read_prior(path)
    for name in prior.weights:
        prior.weights[name]
    mappings = Path("/proc/self/smaps").read_text(encoding="utf-8").split(f"{path}\n")[1:]
    assert mappings
    assert [re.search(r"^Rss:\s+(\d+) kB", each, re.MULTILINE)[1] for each in mappings] == ["0"] * len(mappings)  # type: ignore[index]


@pytest.mark.usefixtures("nothing_kept")
def test_an_export_of_a_file_that_changes_leaves_nothing(tmp_path: Path) -> None:
    vqvae, prior = vqvae_checkpoint(3), prior_checkpoint(PriorConfig(4, 6, **SMALL))
    save_checkpoint(tmp_path / "top.safetensors", prior)
    source = BundleSource(vqvae, [load_checkpoint(tmp_path / "top.safetensors"), None])
    (tmp_path / "top.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"top\.safetensors cannot be read any more"):
        write_bundle(tmp_path / "bundle", source)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("nothing_kept")
def test_values_that_cannot_be_used_are_found_when_the_file_is_read(tmp_path: Path) -> None:
    own = prior_checkpoint(PRIORS["top-k3"])
    broken = dict(own.weights)
    broken["logits.bias"] = np.full_like(broken["logits.bias"], np.nan)
    save_checkpoint(tmp_path / "own.safetensors", Checkpoint(own.config, broken))
    with pytest.raises(CheckpointError, match=r"logits\.bias holds values that are not finite"):
        read_prior(tmp_path / "own.safetensors")
    state = common_layout_files.random_prior(LAYOUT)
    key = next(name for name in state if name.startswith("out.") and name.endswith("conv.weight_v"))
    common_layout_files.save(tmp_path / "inf.pt", {**state, key: torch.full_like(state[key], torch.inf)})
    with pytest.raises(CheckpointError, match="not finite as float32"):
        read_prior(tmp_path / "inf.pt")
    common_layout_files.save(tmp_path / "zero.pt", {**state, key: torch.zeros_like(state[key])})
    with pytest.raises(CheckpointError, match="weight norm is undefined"):
        read_prior(tmp_path / "zero.pt")
    large = replace(own, weights={**own.weights, "logits.bias": np.full(11, 1e5, np.float32)})
    with pytest.raises(InputError, match="beyond float16's range"):
        round_weights(large, "float16")


def lazily(checkpoint: Checkpoint) -> Checkpoint:
    return replace(checkpoint, weights=LazyWeights({name: in_memory(v) for name, v in checkpoint.weights.items()}))


@pytest.mark.parametrize("name", PRIORS)
def test_lazy_arrangements_give_bit_identical_golden_vectors(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lazy parts are converted to float64 when they are used; the others hold float64."""
    checkpoint = prior_checkpoint(PRIORS[name])
    config = PRIORS[name]
    whole = arrange(config, checkpoint.weights)
    assert isinstance(whole.conv1_above, np.ndarray)
    expected = golden_prior("level", 1, whole)
    monkeypatch.setattr(KEPT, -1)
    lazy = arrange(config, lazily(checkpoint).weights, lazy=True)
    assert isinstance(lazy.conv1_above, tuple)
    assert isinstance(lazy.conv2_above, tuple)
    for matrices, stack in ((lazy.conv1_above, whole.conv1_above), (lazy.conv2_above, whole.conv2_above)):
        for matrix, values in zip(matrices, stack, strict=True):
            assert isinstance(matrix, LazyArray)
            assert matrix.shape == values.shape
            np.testing.assert_array_equal(matrix.read(), values)
    if lazy.condition_stack is not None:
        assert all(isinstance(block[0], LazyArray) for block in lazy.condition_stack.residual)
    results = golden_prior("level", 1, lazy)
    assert results.keys() == expected.keys()
    for key, value in results.items():
        assert value.dtype == expected[key].dtype
        np.testing.assert_array_equal(value, expected[key], err_msg=key)


def three_parts() -> dict[str, Checkpoint]:
    """A VQ-VAE of 11 codes and its two priors."""
    codes = CONDITION | {"condition_codes": 11}
    return {
        "vqvae": vqvae_checkpoint(3),
        "top": prior_checkpoint(PriorConfig(4, 6, output_blocks=1, **CLASSES, **SMALL)),
        "bottom": prior_checkpoint(PriorConfig(8, 12, attention=False, **codes, **SMALL)),
    }


@pytest.mark.parametrize("weights", ["float32", "float16"])
def test_the_bundle_of_lazy_weights_is_the_same(weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, checkpoint in three_parts().items():
        save_checkpoint(tmp_path / f"{name}.safetensors", checkpoint)

    def export(name: str) -> None:
        vqvae = read_vqvae(tmp_path / "vqvae.safetensors")
        priors = [read_prior(tmp_path / f"{level}.safetensors") for level in ("top", "bottom")]
        source = BundleSource(vqvae, priors, weights=weights)
        write_bundle(tmp_path / name, source)
        rounded = round_weights(priors[0], weights)
        save_checkpoint(tmp_path / name / "saved.safetensors", rounded, dtype=weights)

    export("kept")
    monkeypatch.setattr(KEPT, -1)
    export("lazy")
    files = {file.name: file.read_bytes() for file in (tmp_path / "kept").iterdir()}
    assert files.keys() == {file.name for file in (tmp_path / "lazy").iterdir()}
    for name, content in files.items():
        assert (tmp_path / "lazy" / name).read_bytes() == content, name


def test_the_digest_of_lazy_weights_is_the_same() -> None:
    vqvae = vqvae_checkpoint(3)
    assert isinstance(vqvae.config, VqvaeConfig)
    assert codes_digest(vqvae.config, lazily(vqvae).weights) == codes_digest(vqvae.config, vqvae.weights)


def test_a_store_compares_no_values_of_the_same_array() -> None:
    def never() -> NDArray[Any]:
        raise AssertionError("read")

    store, array = WeightStore(), LazyArray((2, 3), never)
    store.add("w", array)
    store.add("w", array)
    store.add("v", in_memory(np.ones(3, np.float32)))
    store.add("v", np.ones(3))
    with pytest.raises(AssertionError, match="v"):
        store.add("v", np.zeros(3))


TENSORS: dict[str, dict[str, Any]] = {
    "none": {},
    "float32": {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.ones(3, np.float32)},
    "two types": {
        "half": np.ones(3, np.float16), "b.c": np.ones((2, 2), np.float32), "a": np.ones((), np.float32),
        "empty": np.zeros((0, 3), np.float16), 'é"\n': np.arange(3, dtype=np.float16),
    },
    "strided": {"t": np.arange(12, dtype=np.float32).reshape(3, 4).T, "r": np.arange(9, dtype=np.float32)[::-2]},
    "integers": {"codes": np.arange(5, dtype=np.int64), "small": np.arange(5, dtype=np.uint8), "w": np.ones(2)},
}  # fmt: skip


@pytest.mark.parametrize("name", TENSORS)
def test_the_writer_writes_what_the_library_writes(name: str, tmp_path: Path) -> None:
    tensors = TENSORS[name]
    metadata = {"format": "x", "text": 'a "ü"'}
    for given in (None, metadata):
        offsets = write_tensors(tmp_path / "own", {key: in_memory(v) for key, v in tensors.items()}, given)
        contiguous = {key: np.asarray(value, order="C") for key, value in tensors.items()}
        save_file(contiguous, tmp_path / "library", metadata=given)
        content = (tmp_path / "own").read_bytes()
        if given is None:  # the library writes metadata in any order
            assert content == (tmp_path / "library").read_bytes()
        for key, value in load_file(tmp_path / "own").items():
            assert value.dtype == tensors[key].dtype
            np.testing.assert_array_equal(value, tensors[key])
            begin, length = offsets[key]
            assert content[begin : begin + length] == contiguous[key].tobytes()
            assert begin % value.dtype.itemsize == 0
        with safe_open(tmp_path / "own", framework="numpy") as opened:
            assert sorted(opened.keys()) == sorted(tensors)
            assert opened.metadata() == given


def test_the_writer_holds_one_tensor_at_a_time(tmp_path: Path) -> None:
    alive: list[weakref.ref[NDArray[Any]]] = []

    def read() -> NDArray[Any]:
        assert all(reference() is None for reference in alive)
        values = np.zeros(5, np.float32)
        alive.append(weakref.ref(values))
        return values

    write_tensors(tmp_path / "file", {name: LazyArray((5,), read) for name in "abc"})
    assert load_file(tmp_path / "file").keys() == set("abc")
    assert len(alive) == 3
