"""The bundle that ships: small, sound, and its priors know their classes."""

from __future__ import annotations

import numpy as np
import pytest

from latentloop import Bundle, Sampler
from latentloop.verification import verify


@pytest.fixture(scope="module")
def sampler() -> Sampler:
    return Sampler(Bundle.default())


def test_is_small_and_says_where_it_comes_from(sampler: Sampler) -> None:
    bundle = sampler.bundle
    assert sum(file.stat().st_size for file in bundle.path.iterdir()) < 6.5e6
    assert bundle.manifest.image == (32, 32, 1)
    assert len(bundle.manifest.classes) == 10
    assert "MIT" in bundle.manifest.licence
    models = bundle.manifest.provenance["models"]
    assert set(models) == {"vqvae", "top", "bottom"}
    for model in models.values():
        assert "fashion-mnist" in model["data"]
        assert model["held_out"]


def test_verifies_on_this_machine(sampler: Sampler) -> None:
    assert [check.name for check in verify(sampler) if not check.passed] == []


def test_samples_are_most_likely_under_their_own_class(sampler: Sampler) -> None:
    """Bayes' rule with the priors as densities: a sample's own label should usually win over the nine others."""
    n = 40
    samples = sampler.sample(n, seeds=100)
    assert samples.labels is not None
    scores = []
    for label in range(10):
        found = sampler.log_likelihood(samples.codes, labels=label)
        scores.append(sum(values.reshape(n, -1).sum(1) for values in found.values()))
    assert (np.argmax(scores, axis=0) == samples.labels).mean() > 0.7


def test_reconstructions_are_close(sampler: Sampler) -> None:
    """The golden images are held-out ones: their error is near the one that the manifest reports for all of them."""
    golden = sampler.bundle.golden()
    images = golden["codec.images"]
    found = sampler.decode(sampler.encode(images))
    error = np.square((found.astype(np.float64) - images) / 255).mean()
    reported = sampler.bundle.manifest.provenance["models"]["vqvae"]["held_out"]["mse_unit"]
    assert error < 4 * reported
