"""Comparison of the sampler with the PyTorch models in float64: likelihoods, draws, codes and images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from random_models import full_forward, random_prior
from safetensors.numpy import load_file

from latentloop.bundles.bundle import Bundle
from latentloop.draws.draw_settings import DrawSettings
from latentloop.draws.reference import distribution
from latentloop.draws.uniforms import uniforms
from latentloop.export.configuration import PriorConfig, VqvaeConfig, from_json
from latentloop.export.models.pixelsnail import PixelSnail
from latentloop.export.models.vqvae import Vqvae
from latentloop.sampling.sampler import Sampler

Floats = NDArray[np.float64]
LEVELS = ("top", "bottom")
TOLERANCE = 1e-4  # float32 against float64, of max(1, max |logit|)
EDGE = 1e-4  # of the total mass: the distance from a CDF edge within which a draw may be on either side


@pytest.fixture(scope="module")
def sampler(small_bundle: Path) -> Sampler:
    return Sampler(Bundle.open(small_bundle), threads=1)


@pytest.fixture(scope="module")
def priors(sampler: Sampler) -> dict[str, PixelSnail]:
    """The bundle's priors in float64, with weights rounded to float32."""
    models = {name: random_prior(_configuration(sampler, PriorConfig, name)) for name in LEVELS}
    for model in models.values():
        for parameter in model.parameters():
            parameter.data = parameter.data.float().double()
    return models


@pytest.fixture(scope="module")
def vqvae(sampler: Sampler) -> Vqvae:
    model = Vqvae(_configuration(sampler, VqvaeConfig, "vqvae"))
    stored = load_file(sampler.bundle.path / "weights.safetensors")
    names = [name for name in model.state_dict() if not name.endswith(".usage")]  # of which a bundle stores the mean
    model.load_state_dict({name: torch.from_numpy(stored[f"vqvae.{name}"]) for name in names})
    return model.double().eval()


def _configuration(sampler: Sampler, kind: Any, name: str) -> Any:
    values = sampler.bundle.manifest.provenance["models"][name]["configuration"]
    return from_json(kind, json.loads(json.dumps(values)), name)


def logits_of(priors: dict[str, PixelSnail], codes: dict[str, Any], labels: Any) -> dict[str, Floats]:
    """Returns the logits by level, [N, H, W, K]."""
    top, _ = full_forward(priors["top"], codes["top"], None, labels)
    bottom, _ = full_forward(priors["bottom"], codes["bottom"], codes["top"], labels)
    return {"top": top, "bottom": bottom}


def random_codes(n: int) -> dict[str, NDArray[np.int64]]:
    rng = np.random.default_rng(n)
    return {"top": rng.integers(0, 11, (n, 4, 6)), "bottom": rng.integers(0, 11, (n, 8, 12))}


@pytest.mark.parametrize("n", [1, 17])
def test_the_log_likelihood_equals_the_models(sampler: Sampler, priors: dict[str, PixelSnail], n: int) -> None:
    codes, labels = random_codes(n), np.arange(n) % 3
    log_probabilities = sampler.log_likelihood(codes, labels)
    for name, logits in logits_of(priors, codes, labels).items():
        logp = torch.log_softmax(torch.from_numpy(logits), 3).numpy()
        expected = np.take_along_axis(logp, codes[name][..., None], 3)[..., 0]
        assert log_probabilities[name].shape == codes[name].shape
        assert log_probabilities[name].dtype == np.float64
        assert np.abs(log_probabilities[name] - expected).max() <= TOLERANCE * max(1.0, float(np.abs(logits).max()))


def test_the_likelihoods_of_all_codes_sum_to_one(sampler: Sampler) -> None:
    one = random_codes(1)
    for name, position in (("top", (0, 0)), ("top", (2, 5)), ("bottom", (0, 1)), ("bottom", (7, 11))):
        codes = {level: values.repeat(11, 0) for level, values in one.items()}
        codes[name][:, *position] = np.arange(11)
        log_probabilities = sampler.log_likelihood(codes, labels="bag")[name][:, *position]
        assert abs(np.exp(log_probabilities).sum() - 1) < 1e-5
        assert np.ptp(log_probabilities) > 0.1


MIXED: dict[str, Any] = {
    "temperature": [0.5, 1.0, 2.0, 1.0, 0.8],
    "top_k": [1, 11, 5, 11, 3],
    "top_p": [1.0, 0.5, 0.9, 1.0, 0.7],
    "min_p": [0.0, 0.0, 0.3, 0.2, 0.05],
}


@pytest.mark.parametrize(("batch_size", "settings"), [(1, {}), (5, {}), (2, MIXED), (8, MIXED)])
def test_every_code_agrees_with_its_uniform_number_in_float64(
    sampler: Sampler, priors: dict[str, PixelSnail], batch_size: int, settings: dict[str, Any]
) -> None:
    """So results of two batch sizes can differ only if u is within rounding error of an edge."""
    n = 5
    drawn = sampler.sample(n, seeds=40, batch_size=batch_size, **settings)
    for index, (name, logits) in enumerate(logits_of(priors, drawn.codes, drawn.labels).items()):
        _, height, width, _ = logits.shape
        numbers = uniforms(drawn.seeds, index, height, width)
        for i, j in np.ndindex(height, width):
            cdf = distribution(logits[:, i, j], DrawSettings.of(n, **settings)).cumsum(1)
            code, u = drawn.codes[name][:, i, j], numbers[i, j]
            upper = cdf[np.arange(n), code]
            lower = np.where(code > 0, cdf[np.arange(n), code - 1], 0)
            assert (lower - EDGE <= u).all(), (name, i, j)
            assert (u <= upper + EDGE).all(), (name, i, j)


def test_likelihoods_do_not_depend_on_the_batch(sampler: Sampler) -> None:
    codes = random_codes(17)  # more than one batch
    together = sampler.log_likelihood(codes, labels=2)
    for index in (0, 15, 16):
        alone = sampler.log_likelihood({name: values[index : index + 1] for name, values in codes.items()}, labels=2)
        for name in LEVELS:
            np.testing.assert_allclose(alone[name][0], together[name][index], rtol=0, atol=1e-4)


def test_reconstruction_equals_the_models(sampler: Sampler, vqvae: Vqvae) -> None:
    images = np.random.default_rng(8).integers(0, 256, (18, 4, 6, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    with torch.no_grad():
        levels = vqvae.quantise(torch.from_numpy(images.astype(np.float64)).permute(0, 3, 1, 2) / 127.5 - 1)
        decoded = vqvae.decode([level.codes for level in levels]).permute(0, 2, 3, 1).numpy()
    codes = sampler.encode(images)
    for name, level in zip(LEVELS, levels, strict=True):
        np.testing.assert_array_equal(codes[name], level.codes.numpy())
        assert len(np.unique(codes[name])) > 1
    reconstructed = sampler.decode(codes)
    assert reconstructed.dtype == np.uint8
    assert reconstructed.shape == images.shape
    assert np.abs(reconstructed - ((decoded + 1) * 127.5).clip(0, 255)).max() <= 1


def test_decoding_random_codes_equals_the_models(sampler: Sampler, vqvae: Vqvae) -> None:
    codes = random_codes(18)
    with torch.no_grad():
        decoded = vqvae.decode([torch.from_numpy(codes[name]) for name in LEVELS]).permute(0, 2, 3, 1).numpy()
    images = sampler.decode(codes)
    assert np.abs(images - ((decoded + 1) * 127.5).clip(0, 255)).max() <= 1
    assert np.ptp(images) > 10
    narrow = {name: values.astype(np.uint8) for name, values in codes.items()}
    np.testing.assert_array_equal(sampler.decode(narrow), images)


def test_empty_inputs_give_empty_results(sampler: Sampler) -> None:
    codes = sampler.encode(np.empty((0, 32, 48, 3), np.uint8))
    assert {name: value.shape for name, value in codes.items()} == {"top": (0, 4, 6), "bottom": (0, 8, 12)}
    assert sampler.decode(codes).shape == (0, 32, 48, 3)
    assert {name: v.shape for name, v in sampler.log_likelihood(codes, labels=0).items()} == {
        "top": (0, 4, 6),
        "bottom": (0, 8, 12),
    }
