"""Codes that are not drawn, -1: their codeword is the mean of the codebook, in the model, the graph and the sampler."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import run
from conftest import vqvae_checkpoint
from cpu_sessions import cpu_session
from numpy.typing import NDArray
from PIL import Image
from random_models import plain_weights, random_vqvae

from latentloop import Bundle, InputError, Sampler
from latentloop.export.bundle import BundleSource, write_bundle
from latentloop.export.bundle.files import write_graphs
from latentloop.export.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from latentloop.export.checkpoints.code_usage import has_usage, mean_codeword, usage_name, with_usage
from latentloop.export.checkpoints.codes_digest import codes_digest
from latentloop.export.configuration import VqvaeConfig
from latentloop.export.graphs.builder import WeightStore
from latentloop.export.graphs.codec import decoder_graph
from latentloop.export.models.build import build_vqvae, check_weights
from latentloop.sampling.verification import verify


def _random_checkpoint(levels: int, *, known: bool) -> Checkpoint:
    config = VqvaeConfig(levels=levels, channels=12, residual_channels=6, code_channels=5, codebook_size=16)
    checkpoint = Checkpoint(config, plain_weights(random_vqvae(config)))
    rng = np.random.default_rng(levels)
    return with_usage(checkpoint, [*rng.exponential(3.0, (levels, 16))]) if known else checkpoint


def _means(checkpoint: Checkpoint) -> list[NDArray[np.float64]]:
    """The mean codeword of every level, computed by a loop over the codes."""
    means = []
    assert isinstance(checkpoint.config, VqvaeConfig)
    for level in range(checkpoint.config.levels):
        codebook = checkpoint.weights[f"codebooks.{level}.embedding"]
        usage = checkpoint.weights[usage_name(level)] if has_usage(checkpoint) else [1.0] * len(codebook)
        total = np.zeros(codebook.shape[1])
        for share, codeword in zip(usage, codebook, strict=True):
            total += float(share) * codeword.astype(np.float64)
        means.append(total / float(np.sum(usage, dtype=np.float64)))
    return means


def _expected(checkpoint: Checkpoint, codes: dict[str, NDArray[np.int64]]) -> NDArray[np.float64]:
    """Images [N, H, W, C] before rounding that the model's decoder makes of codewords looked up by hand."""
    model = build_vqvae(checkpoint, "vqvae").double()
    codewords = []
    for level, (values, mean) in enumerate(zip(codes.values(), _means(checkpoint), strict=True)):
        codebook = checkpoint.weights[f"codebooks.{level}.embedding"].astype(np.float64)
        rows = np.where((values < 0)[..., None], mean, codebook[values])
        codewords.append(torch.from_numpy(rows.transpose(0, 3, 1, 2).copy()))
    with torch.no_grad():
        decoded: NDArray[np.float64] = model.decode_codewords(codewords).permute(0, 2, 3, 1).numpy()
    return decoded


def _partly_drawn(checkpoint: Checkpoint, image: tuple[int, int]) -> dict[str, NDArray[np.int64]]:
    """Codes of three images: of the first nothing is drawn, of the others everything and some codes."""
    config, rng = checkpoint.config, np.random.default_rng(0)
    assert isinstance(config, VqvaeConfig)
    codes = {}
    for level, name in enumerate(config.level_names):
        grid = tuple(size // config.stride(level) for size in image)
        codes[name] = rng.integers(0, config.codebook_size, (3, *grid))
        codes[name][0] = -1
        codes[name][2][rng.random(grid) < 0.4] = -1
    return codes


@pytest.mark.parametrize("known", [True, False], ids=["usage", "no-usage"])
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_have_the_mean_codeword(levels: int, known: bool, tmp_path: Path) -> None:
    checkpoint = _random_checkpoint(levels, known=known)
    assert isinstance(checkpoint.config, VqvaeConfig)
    stride = checkpoint.config.stride(0)
    image = (2 * stride, 3 * stride)
    codes = _partly_drawn(checkpoint, image)
    expected = _expected(checkpoint, codes)
    # 1. The model of the specification.
    model = build_vqvae(checkpoint, "vqvae").double()
    with torch.no_grad():
        decoded = model.decode([torch.from_numpy(values) for values in codes.values()]).permute(0, 2, 3, 1)
    np.testing.assert_allclose(decoded.numpy(), expected, atol=1e-6)
    # 2. The graph, in which K means the same.
    store = WeightStore()
    write_graphs(tmp_path, {"decoder.onnx": decoder_graph(checkpoint.config, checkpoint.weights, store, image)}, store)
    session = cpu_session(tmp_path / "decoder.onnx", threads=1)
    outputs = session.run(codes)
    np.testing.assert_allclose(outputs["decoded"], expected, atol=1e-5 * np.abs(expected).max())
    as_size = {name: np.where(values < 0, 16, values) for name, values in codes.items()}
    np.testing.assert_array_equal(session.run(as_size)["decoded"], outputs["decoded"])
    # 3. A bundle, and its golden vectors.
    write_bundle(tmp_path / "bundle", BundleSource(checkpoint, image=image))
    sampler = Sampler(Bundle.open(tmp_path / "bundle"), threads=1)
    assert sampler.bundle.manifest.undrawn_codeword == ("checkpoint" if known else "equal")
    pixels = np.clip(np.rint((expected + 1) * 127.5), 0, 255)
    assert np.abs(sampler.decode(codes) - pixels).max() <= 1  # rounded in float32
    checks = {check.name: check for check in verify(sampler)}
    assert checks["decode: pixels of a half-drawn image, of [-1, 1]"].passed
    assert all(check.passed for check in checks.values())


def test_golden_vectors_detect_another_mean(tmp_path: Path) -> None:
    checkpoint = _random_checkpoint(2, known=True)
    write_bundle(tmp_path / "bundle", BundleSource(checkpoint, image=(32, 32)))
    other = with_usage(checkpoint, [*np.random.default_rng(9).exponential(3.0, (2, 16))])
    write_bundle(tmp_path / "other", BundleSource(other, image=(32, 32)))
    (tmp_path / "bundle" / "decoder.onnx").write_bytes((tmp_path / "other" / "decoder.onnx").read_bytes())
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    manifest["files"]["decoder.onnx"] = json.loads((tmp_path / "other" / "manifest.json").read_text())["files"][
        "decoder.onnx"
    ]
    (tmp_path / "bundle" / "manifest.json").write_text(json.dumps(manifest))
    failed = [check.name for check in verify(Sampler(Bundle.open(tmp_path / "bundle"), threads=1)) if not check.passed]
    assert failed == ["decode: pixels of a half-drawn image, of [-1, 1]"]


@pytest.mark.parametrize("counts", [[0.0] * 11, [-1.0] + [1.0] * 10, [np.nan] + [1.0] * 10, [np.inf] + [1.0] * 10])
def test_counts_that_say_nothing_are_not_used(counts: list[float]) -> None:
    checkpoint = vqvae_checkpoint(image_channels=1)
    assert with_usage(checkpoint, [np.array(counts), np.ones(11)]) is checkpoint
    assert not has_usage(checkpoint)
    mean = checkpoint.weights["codebooks.0.embedding"].astype(np.float64).mean(0)
    np.testing.assert_allclose(mean_codeword(checkpoint.weights, 0), mean, rtol=1e-6)


def test_checkpoints_with_and_without_usage_are_read(tmp_path: Path) -> None:
    plain = vqvae_checkpoint(image_channels=1)
    weights = {name: value for name, value in plain.weights.items() if not name.endswith(".usage")}
    earlier = replace(plain, weights=weights)
    known = with_usage(earlier, [np.arange(11), np.arange(11)[::-1]], usage_images=3)
    assert isinstance(plain.config, VqvaeConfig)
    for name, checkpoint in (("earlier", earlier), ("known", known)):
        save_checkpoint(tmp_path / name, checkpoint)
        read = load_checkpoint(tmp_path / name)
        check_weights(read, name)
        assert has_usage(read) == (name == "known")
        assert codes_digest(plain.config, read.weights) == codes_digest(plain.config, weights)
        model = build_vqvae(read, name)
        assert float(model.codebook(0).usage.sum()) == pytest.approx(float(name == "known"))
    assert known.provenance["usage_images"] == 3


def test_a_sampler_refuses_other_codes(small_bundle: Path) -> None:
    sampler = Sampler(Bundle.open(small_bundle), threads=1)
    codes = sampler.sample(1, seeds=1).codes
    for wrong in (-2, 11):
        with pytest.raises(InputError, match=f"codes of top range from .*{wrong}.*, expected -1 to 10"):
            sampler.decode({**codes, "top": np.full((1, 4, 6), wrong)})
    partial = {**codes, "bottom": np.full((1, 8, 12), -1)}
    for method in (sampler.log_likelihood, sampler.logits):
        with pytest.raises(InputError, match="codes of bottom range from -1 to -1, expected 0 to 10"):
            method(partial, labels=0)
    with pytest.raises(InputError, match="codes of the level 'bottom' are missing"):
        sampler.decode({"top": codes["top"]})
    assert sampler.decode({name: np.empty((0, *c.shape[1:]), np.int64) for name, c in codes.items()}).shape[0] == 0


def test_a_drawn_half_is_the_same_far_from_the_edge(small_bundle: Path) -> None:
    sampler = Sampler(Bundle.open(small_bundle), threads=1)
    codes = sampler.sample(1, seeds=1).codes
    partial = {"top": codes["top"], "bottom": codes["bottom"].copy()}
    partial["bottom"][:, 7] = -1  # the last row: a codeword reaches no pixel that is more than 12 bottom rows away
    whole, half = sampler.decode(codes), sampler.decode(partial)
    assert not np.array_equal(whole, half)
    np.testing.assert_array_equal(whole[:, :8], half[:, :8])


def test_a_file_of_codes_that_are_not_drawn_is_decoded(small_bundle: Path, tmp_path: Path) -> None:
    sampler = Sampler(Bundle.open(small_bundle), threads=1)
    codes = sampler.sample(1, seeds=1).codes
    codes["bottom"][:, 3:] = -1
    np.savez(tmp_path / "codes.npz", top=codes["top"], bottom=codes["bottom"])
    files = (tmp_path / "codes.npz", "--bundle", small_bundle, "--out", tmp_path / "a.png")
    assert run("decode", *files, "--scale", "1") == 0
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(np.asarray(image), sampler.decode(codes)[0])
