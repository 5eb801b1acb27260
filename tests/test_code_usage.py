"""How often each code occurs: from training, from the common layout's moving averages, or counted in images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import run
from common_layout_files import random_vqvae as common_vqvae
from common_layout_files import save

from latentloop import Bundle, Sampler
from latentloop.export.checkpoints.checkpoint import load_checkpoint
from latentloop.export.checkpoints.code_usage import has_usage, usage_name
from latentloop.export.configuration import VqvaeConfig
from latentloop.export.data.datasets import load_data
from latentloop.export.layouts.reading import read_vqvae
from latentloop.export.train.options import VqvaeOptions
from latentloop.export.train.vqvae import VqvaeTask
from latentloop.sampling.verification import verify

TRAINED = Path(__file__).parent / "trained" / "current-vqvae.safetensors"  # does not hold the use of its codes


def test_training_stores_the_moving_averages() -> None:
    config = VqvaeConfig(channels=8, residual_channels=4, residual_layers=1, code_channels=4, codebook_size=6)
    images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
    options = VqvaeOptions(steps=6, batch=4, unquantised_steps=2)
    task = VqvaeTask(config, images, options)
    assert not task.averaged().codebook(0).usage.any()
    for step in range(6):
        task.step(step)
    weights = task.averaged().state_dict()
    for level, codebook in enumerate(task.codebooks):
        counts = codebook.cluster_size
        np.testing.assert_allclose(weights[usage_name(level)], counts / counts.sum(), rtol=1e-6)
    # A state file of an earlier release lacks these tensors.
    state = task.state()
    state["model"] = {name: value for name, value in state["model"].items() if not name.endswith(".usage")}
    other = VqvaeTask(config, images, options)
    other.restore(state)
    torch.testing.assert_close(other.averaged().state_dict(), weights, rtol=0, atol=0)


@pytest.mark.parametrize("damage", [None, "zero", "negative", "missing"])
def test_the_common_layouts_moving_averages(damage: str | None, tmp_path: Path) -> None:
    state = common_vqvae()
    counts = {letter: torch.arange(1.0, 10.0).roll(n) for n, letter in enumerate("tb")}
    for letter, values in counts.items():
        state[f"quantize_{letter}.cluster_size"] = values
    if damage == "zero":
        counts["b"].zero_()
    elif damage == "negative":
        counts["b"][3] = -1
    elif damage == "missing":
        del state["quantize_b.cluster_size"]
    save(tmp_path / "v.pt", state)
    checkpoint = read_vqvae(tmp_path / "v.pt")
    assert has_usage(checkpoint) == (damage is None)
    if damage is None:
        for level, letter in enumerate("tb"):
            np.testing.assert_allclose(checkpoint.weights[usage_name(level)], counts[letter] / 45, rtol=1e-6)
    assert run("export", "--vqvae", tmp_path / "v.pt", "--image", "16", "--out", tmp_path / "bundle") == 0
    sampler = Sampler(Bundle.open(tmp_path / "bundle"), threads=1)
    assert sampler.bundle.manifest.undrawn_codeword == ("checkpoint" if damage is None else "equal")
    assert all(check.passed for check in verify(sampler))


def test_an_export_counts_codes_in_its_data(tmp_path: Path) -> None:
    data = tmp_path / "planets"
    assert run("data", "planets", "--train", 1, "--test", 1, "--seed", 7, "--processes", 1, "--out", data) == 0
    assert not has_usage(load_checkpoint(TRAINED))
    files = ("--vqvae", TRAINED, "--data", data)
    saved = tmp_path / "saved"
    assert run("export", *files, "--out", tmp_path / "bundle", "--save-checkpoints", saved) == 0
    bundle = Bundle.open(tmp_path / "bundle")
    assert bundle.manifest.undrawn_codeword == "data"
    count = bundle.manifest.provenance["models"]["vqvae"]["usage_images"]
    assert count == 9  # all training images
    sampler = Sampler(bundle, threads=1)
    assert all(check.passed for check in verify(sampler))
    # The shares are those of the bundle's encoder.
    images = load_data(data, bundle.manifest.image[0], image_channels=3).training.images
    checkpoint = load_checkpoint(saved / "vqvae.safetensors")
    for level, codes in enumerate(sampler.encode(images).values()):
        counts = np.bincount(codes.ravel(), minlength=bundle.manifest.levels[level].codebook_size)
        expected = counts / counts.sum()
        assert np.abs(checkpoint.weights[usage_name(level)] - expected).sum() < 0.01  # near ties
    # The saved checkpoint gives the same decoder, without the data.
    again = ("--vqvae", saved / "vqvae.safetensors", "--out", tmp_path / "again")
    assert run("export", *again) == 0
    assert json.loads((tmp_path / "again" / "manifest.json").read_text())["undrawn_codeword"] == "checkpoint"
    assert (tmp_path / "again" / "decoder.onnx").read_bytes() == (tmp_path / "bundle" / "decoder.onnx").read_bytes()
