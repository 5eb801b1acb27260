"""The default bundle: small, valid, and with priors that know their classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from latentloop import Bundle, Sampler
from latentloop.export.bundle import BundleSource, write_bundle
from latentloop.export.checkpoints.checkpoint import load_checkpoint
from latentloop.export.planets.dataset import planet
from latentloop.export.planets.surfaces import SURFACES
from latentloop.sampling.verification import verify

CHECKPOINTS = Path(__file__).parents[1] / "export" / "recipes" / "planets"


@pytest.fixture(scope="module")
def sampler() -> Sampler:
    return Sampler(Bundle.default())


def test_is_small_and_records_its_origin(sampler: Sampler) -> None:
    bundle = sampler.bundle
    assert sum(file.stat().st_size for file in bundle.path.iterdir()) < 12e6
    assert bundle.manifest.image == (64, 64, 3)
    assert bundle.manifest.classes == tuple(sorted(SURFACES))
    assert "MIT" in bundle.manifest.licence
    assert "synthetic" in bundle.manifest.licence
    models = bundle.manifest.provenance["models"]
    assert set(models) == {"vqvae", "top", "bottom", "classifier"}
    for model in models.values():
        assert model["data_sha256"] == models["vqvae"]["data_sha256"]
        assert model["held_out"]


@pytest.mark.slow
def test_is_the_export_of_its_checkpoints(sampler: Sampler, tmp_path: Path) -> None:
    """After a change of the graphs, export the bundle again with the last command of its recipe."""
    bundle = sampler.bundle
    vqvae, top, bottom, classifier = (
        load_checkpoint(CHECKPOINTS / f"{name}.safetensors") for name in ("vqvae", "top", "bottom", "classifier")
    )
    source = BundleSource(
        vqvae,
        [top, bottom],
        classes=bundle.manifest.classes,
        golden_images=bundle.golden()["codec.images"],
        classifier=classifier,
        weights="float16",
    )
    write_bundle(tmp_path / "bundle", source)
    again = Bundle.open(tmp_path / "bundle")
    for name in bundle.manifest.files:
        if name != bundle.manifest.golden:
            assert (again.path / name).read_bytes() == (bundle.path / name).read_bytes(), name
    for name, value in bundle.golden().items():  # the last bits depend on the machine
        np.testing.assert_allclose(again.golden()[name], value, atol=1e-5, err_msg=name)


def test_verifies_on_this_machine(sampler: Sampler) -> None:
    assert [check.name for check in verify(sampler) if not check.passed] == []


def test_samples_are_most_likely_under_their_own_class(sampler: Sampler) -> None:
    """By Bayes' rule with the priors as densities, a sample's own label is usually the most probable one."""
    n = 24
    samples = sampler.sample(n, seeds=100)
    assert samples.labels is not None
    scores = []
    for label in range(len(SURFACES)):
        likelihoods = sampler.log_likelihood(samples.codes, labels=label)
        scores.append(sum(values.reshape(n, -1).sum(1) for values in likelihoods.values()))
    assert (np.argmax(scores, axis=0) == samples.labels).mean() > 0.7


def test_the_classifier_classifies_samples_and_unseen_planets(sampler: Sampler) -> None:
    classes = sampler.bundle.manifest.classes
    samples = sampler.sample(24, seeds=500)
    predicted = sampler.classify(samples.images).probabilities.argmax(1)
    assert samples.labels is not None
    assert (predicted == samples.labels).mean() > 0.7
    images = np.stack([planet(kind, "test", 10_000 + index, 0) for kind in classes for index in range(4)])
    assert (sampler.classify(images).probabilities.argmax(1) == np.arange(len(classes)).repeat(4)).mean() > 0.9


def test_reconstructions_are_close(sampler: Sampler) -> None:
    """The golden images are held-out images: their error is close to that of all of them, which the manifest has."""
    golden = sampler.bundle.golden()
    images = golden["codec.images"]
    decoded = sampler.decode(sampler.encode(images))
    error = np.square((decoded.astype(np.float64) - images) / 255).mean()
    reported = sampler.bundle.manifest.provenance["models"]["vqvae"]["held_out"]["mse_unit"]
    assert error < 4 * reported
