"""Runs a bundle's classifier, always on the CPU: the images are host arrays and the network is small."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from latentloop.backends.bundle_errors import bundle_errors
from latentloop.bundles.bundle import Bundle
from latentloop.errors import BundleError, InputError
from latentloop.sampling.batches import batches
from latentloop.sampling.results import Classification

BATCH = 16  # images at once
SUM_BOUND = 1e-3  # of |1 - sum| of an image's probabilities
REMEDY = "export the bundle again"


def classifier_file(bundle: Bundle) -> str:
    """Returns the name of the classifier's file. Raises InputError if the bundle has no classifier."""
    file = bundle.manifest.classifier
    if file is None:
        raise InputError(
            f"{bundle.path} has no classifier: `latentloop train classifier` makes one; export the bundle again with "
            "--classifier FILE"
        )
    return file


def classify(bundle: Bundle, images: NDArray[np.uint8], threads: int) -> Classification:
    """Returns the probabilities [N, classes] and features [N, F] of images [N, H, W, C] at the bundle's size.

    Raises InputError if the bundle has no classifier, BundleError if the results are not those of a classifier.
    """
    from latentloop.backends.cpu.session import bundle_session  # late: sampling with engines needs no ONNX Runtime

    file, classes = classifier_file(bundle), len(bundle.manifest.classes)
    with bundle_errors(bundle.path, file):
        session = bundle_session(bundle, file, threads)
        # Without images, a blank one is run to get the number of features.
        inputs = images if len(images) else np.zeros((1, *bundle.manifest.image), np.uint8)
        parts = [session.run({"images": inputs[part]}) for part in batches(len(inputs), BATCH)]
        probabilities, features = (
            np.concatenate([part[name] for part in parts])[: len(images)] for name in ("probabilities", "features")
        )
        if probabilities.shape != (len(images), classes) or features.shape[:-1] != (len(images),):
            shapes = f"{list(probabilities.shape)} and {list(features.shape)}"
            raise BundleError(f"{bundle.path / file}: gives {shapes} for {len(images)} images of {classes} classes")
    if not (np.isfinite(probabilities).all() and np.isfinite(features).all()):
        raise BundleError(f"{bundle.path / file}: results that are not finite: the weights are damaged")
    sums = probabilities.sum(1, dtype=np.float64)
    if (probabilities < 0).any() or (np.abs(sums - 1) > SUM_BOUND).any():
        bounds = (
            f"from {probabilities.min():g} to {probabilities.max():g} whose sums are {sums.min():g} to {sums.max():g}"
        )
        raise BundleError(f"{bundle.path / file}: probabilities {bounds}, expected 0 to 1 and sums of 1; {REMEDY}")
    return Classification(probabilities, features)
