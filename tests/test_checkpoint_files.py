"""File formats: every format can be read, and the error for any other file names its format."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from common_layout import weight
from common_layout_files import PRIORS, State, as_float64, random_prior, random_vqvae, save
from conftest import vqvae_checkpoint
from safetensors.torch import save_file
from torch import nn

from latentloop.errors import CheckpointError
from latentloop.export.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from latentloop.export.checkpoints.lazy_arrays import Weights
from latentloop.export.layouts.reading import read_classifier, read_prior, read_vqvae

VQVAE = random_vqvae()


def read(path: Path) -> Weights:
    return read_vqvae(path).weights


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return read(save(tmp_path_factory.mktemp("plain") / "v.pt", VQVAE))


def assert_equal(weights: Weights, expected: Weights) -> None:
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(weights[name], value)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".bin", ".safetensors", ""])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_the_content_decides_the_format(kind: str, suffix: str, expected: Weights, tmp_path: Path) -> None:
    path = tmp_path / f"file{suffix}"
    if kind == "safetensors":
        save_file(VQVAE, path, metadata={"format": "pt"})
    else:
        torch.save(VQVAE, path, _use_new_zipfile_serialization=kind == "zip")
    assert_equal(read(path), expected)


def test_own_checkpoints_under_any_name(tmp_path: Path) -> None:
    checkpoint = vqvae_checkpoint(3)
    for name in ("v.pt", "v"):
        save_checkpoint(tmp_path / name, checkpoint)
        result = read_vqvae(tmp_path / name)
        assert result.config == checkpoint.config
        assert result.provenance["file"] == name
        with pytest.raises(CheckpointError, match="holds a VQ-VAE, expected a prior"):
            read_prior(tmp_path / name)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_every_protocol_of_pickle(protocol: int, zipped: bool, expected: Weights, tmp_path: Path) -> None:
    saved = {"model": VQVAE, "sizes": {(1, 2): {3}}, "text": "ü", "more": [frozenset([1]), 10**30, b"x"]}
    torch.save(saved, tmp_path / "v.pt", pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    assert_equal(read(tmp_path / "v.pt"), expected)


def flat_views(state: State) -> State:
    """All tensors as views of one storage."""
    flat = torch.cat([value.flatten() for value in state.values()])
    ends = np.cumsum([value.numel() for value in state.values()])
    return {key: flat[end - value.numel() : end].view(value.shape)
            for end, (key, value) in zip(ends, state.items(), strict=True)}  # fmt: skip


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "rewrite",
    [
        lambda value: nn.Parameter(value),
        lambda value: value.double(),
        lambda value: value.transpose(0, -1).contiguous().transpose(0, -1),
        lambda value: torch.stack([value, value + 1])[0],
    ],
    ids=["parameters", "double", "not contiguous", "views"],
)
def test_tensors_of_every_kind(
    rewrite: Callable[[torch.Tensor], torch.Tensor], zipped: bool, expected: Weights, tmp_path: Path
) -> None:
    state = {key: rewrite(value) for key, value in VQVAE.items()}
    torch.save(state, tmp_path / "v.pt", _use_new_zipfile_serialization=zipped)
    assert_equal(read(tmp_path / "v.pt"), expected)
    torch.save(flat_views(VQVAE), tmp_path / "v.pt", _use_new_zipfile_serialization=zipped)
    assert_equal(read(tmp_path / "v.pt"), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    state = {key: value.to(dtype) for key, value in VQVAE.items()}
    save_file(state, tmp_path / "v.safetensors")
    wide = read(save(tmp_path / "v.pt", {key: value.float() for key, value in state.items()}))
    assert_equal(read(tmp_path / "v.safetensors"), wide)
    assert_equal(read(save(tmp_path / "half.pt", state)), wide)


def test_device_and_byte_order_of_the_saving_machine(expected: Weights, tmp_path: Path) -> None:
    """The pickle has the name of a storage's device; the entry ``byteorder`` says that a machine is big-endian."""
    torch.save(VQVAE, tmp_path / "v.pt")
    with zipfile.ZipFile(tmp_path / "v.pt") as archive:
        entries = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    entries["data.pkl"] = entries["data.pkl"].replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:3")
    entries["byteorder"] = b"big"
    for name in entries:
        if name.startswith("data/"):
            entries[name] = np.frombuffer(entries[name], "<f4").astype(">f4").tobytes()
    for packing in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # users who pack an archive again compress it
        with zipfile.ZipFile(tmp_path / "again.pt", "w", packing) as archive:
            for name, content in entries.items():
                archive.writestr(f"folder/v/{name}", content)
        assert_equal(read(tmp_path / "again.pt"), expected)


def test_removed_weight_norm(tmp_path: Path) -> None:
    layout = PRIORS["bottom-k3"]
    state = random_prior(layout)
    plain = {key: value for key, value in state.items() if not key.endswith(("_g", "_v"))}
    for key in (name.removesuffix(".weight_g") for name in state if name.endswith("_g")):
        causal = "resblocks" in key and ".condition." not in key
        plain[f"{key}.weight"] = torch.from_numpy(weight(as_float64(state), key, masked=causal))
    removed, normed = (read_prior(save(tmp_path / "p.pt", each)) for each in (plain, state))
    assert removed.config == normed.config
    for name, value in normed.weights.items():
        np.testing.assert_allclose(removed.weights[name], value, rtol=1e-6)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layer(x)
        return out


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("wrap", "expression"),
    [
        (lambda module: module, ""),
        (lambda module: nn.DataParallel(module), ""),
        (lambda module: {"model": module, "epoch": 3}, '["model"]'),
        (lambda module: [{"ema": {"net": module}}], '[0]["ema"]["net"]'),
    ],
)
def test_whole_modules_are_refused_with_the_code_that_saves_their_tensors(
    wrap: Callable[[nn.Module], object], expression: str, zipped: bool, tmp_path: Path
) -> None:
    path = tmp_path / "old.pt"
    torch.save(wrap(Small()), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match="holds a whole module") as caught:
        read(path)
    line = str(caught.value).rpartition(": ")[2]
    state = f'torch.load("old.pt", map_location="cpu", weights_only=False){expression}.state_dict()'
    assert line == f'torch.save({state}, "old-weights.pt")'
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        exec(line, {"torch": torch})  # the remedy works
        assert set(torch.load("old-weights.pt")) in ({"layer.weight", "layer.bias"},
                                                     {"module.layer.weight", "module.layer.bias"})  # fmt: skip
    finally:
        os.chdir(before)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_programs_are_refused_with_the_code_that_saves_their_tensors(tmp_path: Path) -> None:
    traced = torch.jit.trace(Small(), torch.ones(1, 1, 2, 2))  # type: ignore[no-untyped-call]
    torch.jit.save(traced, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r'TorchScript.*torch\.jit\.load\("a\.pt".*\.state_dict\(\)'):
        read(tmp_path / "a.pt")


def tar(folder: Path) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(folder, "weights.pt")
    return packed.getvalue()


def packed(*names: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty; the copy or the download did not finish"),
        (b"\n<!DOCTYPE html>\n<html>", "it is a web page"),
        (b"\xef\xbb\xbf<HTML><head>", "it is a web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "a Git LFS pointer.*git lfs pull"),
        (b'{"error": "not found"}', "it is text, which begins with"),
        (gzip.compress(b"weights", mtime=0), "it is a gzip archive: unpack it"),
        (b"\x93NUMPY\x01\x00", "it is a NumPy array"),
        (bytes(1000), "which no supported format does"),
        (b"PK\x03\x04", "its archive is cut short or damaged"),
        (packed("run/v.pt", "run/t.pt"), r"a ZIP archive without data\.pkl, of run/t\.pt, run/v\.pt; unpack it"),
        (packed("a.npy", "b.npy"), r"an archive of NumPy arrays.*torch\.from_numpy"),
        (pickle.dumps({"a": 1}), r"a pickle that torch\.save did not write.*pickle\.load"),
        (b"\x80\x02.", "its pickle is damaged"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_the_error_names_the_format_of_any_other_file(
    content: bytes, message: str, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"file{suffix}"
    path.write_bytes(content)
    if suffix == ".safetensors" and content in (bytes(1000),):
        message = "as a safetensors file its header is damaged or cut short"
    for reader in (read_vqvae, read_prior, read_classifier):
        with pytest.raises(CheckpointError, match=message) as caught:
            reader(path)
        assert str(caught.value).startswith(str(path))


def test_tar_archives_folders_and_pipes(tmp_path: Path) -> None:
    weights = save(tmp_path / "weights.pt", VQVAE)
    (tmp_path / "tar.pt").write_bytes(tar(weights))
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "manifest.json").touch()
    shutil.unpack_archive(weights, tmp_path / "unpacked", "zip")
    os.mkfifo(tmp_path / "pipe")
    for name, message in (
        ("tar.pt", "it is a tar archive"),
        ("bundle", "it is a bundle: give the checkpoint"),
        ("unpacked", "it is an unpacked checkpoint: pack it again"),
        (".", "give the checkpoint's file in it"),
        ("pipe", "it is a pipe or a device"),
    ):
        with pytest.raises(CheckpointError, match=message):
            read(tmp_path / name)


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_truncated_files_are_refused(kind: str, fraction: float, tmp_path: Path) -> None:
    path = tmp_path / "v.pt"
    if kind == "safetensors":
        save_file(VQVAE, path)
    else:
        torch.save(VQVAE, path, _use_new_zipfile_serialization=kind == "zip")
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(CheckpointError, match=r"damaged|cut short"):
        read(path)


def test_a_changed_byte_is_detected(expected: Weights, tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(VQVAE, tmp_path / "unchecked.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert_equal(read(tmp_path / "unchecked.pt"), expected)
    torch.save(VQVAE, tmp_path / "v.pt")
    content = bytearray((tmp_path / "v.pt").read_bytes())
    content[content.find(VQVAE["dec.blocks.0.weight"].numpy().tobytes()) + 5] ^= 1
    (tmp_path / "v.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"v\.pt is damaged in its entry .*CRC-32"):
        read(tmp_path / "v.pt")


def test_an_own_checkpoint_that_cannot_be_read_says_what_was_found_and_expected(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "own.safetensors", vqvae_checkpoint(3))
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes((tmp_path / "own.safetensors").read_bytes()[:-1])
    for path, found in (
        (tmp_path, "is a folder, expected .*: name the file in it"),
        (tmp_path / "absent", "cannot read .*: No such file or directory; expected "),
        (cut, "not a readable safetensors file: .*; expected .*: is it complete?"),
    ):
        with pytest.raises(CheckpointError, match=found) as raised:
            load_checkpoint(path)
        assert str(path) in str(raised.value)
        assert "a checkpoint that `latentloop train` wrote" in str(raised.value)
