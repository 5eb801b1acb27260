"""Evaluates a bundle on images, a batch at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latentloop.bundles.manifest import Manifest
from latentloop.errors import InputError, listed
from latentloop.evaluation.evaluation import Evaluation
from latentloop.evaluation.level_figures import LevelTotals
from latentloop.evaluation.pixel_errors import mean_squared_errors
from latentloop.evaluation.similarity import SMALLEST, SMALLEST_OF_SCALES, WINDOW, ms_ssim, ssim
from latentloop.sampling.batches import batches
from latentloop.sampling.sampler import Sampler, check_sampler
from latentloop.sampling.validation import check_images, check_labels

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


def evaluate(sampler: Sampler, images: ArrayLike, labels: ArrayLike | None = None) -> Evaluation:
    """Returns how well the sampler's bundle encodes images uint8 [N, H, W, C] of its size, N at least 1: the bits of
    their codes under the priors, and how close the reconstructions are.

    labels: class indices or names, one for all or one per image. Without them, the bits of priors that depend on
    classes are those with the classes that the bundle's classifier finds in the reconstructions.

    Memory holds the images, and beside them a batch and a few numbers per image. Raises InputError for arguments that
    do not fit the bundle.
    """
    check_sampler(sampler)
    manifest = sampler.bundle.manifest
    checked = check_images(images, manifest)
    if not len(checked):
        raise InputError("images are none, expected at least one")
    given = None if labels is None else check_labels(labels, len(checked), manifest)
    evaluator = Evaluator(sampler, labelled=given is not None)
    for part in batches(len(checked), sampler.default_batch_size):
        evaluator.add(checked[part], None if given is None else given[part])
    return evaluator.result()


class Evaluator:
    """Adds up the figures of a bundle. ``labelled``: whether each image comes with its class."""

    def __init__(self, sampler: Sampler, *, labelled: bool) -> None:
        manifest = sampler.bundle.manifest
        height, width, _ = manifest.image
        self._sampler, self._manifest, self._labelled = sampler, manifest, labelled
        self._classifies = manifest.classifier is not None
        self._totals = LevelTotals(sampler, labels=labelled or self._classifies)
        self._measures = {
            "squared_errors": mean_squared_errors,
            **({"ssim": ssim} if min(height, width) >= SMALLEST else {}),
            **({"ms_ssim": ms_ssim} if min(height, width) >= SMALLEST_OF_SCALES else {}),
        }
        self._errors: dict[str, list[NDArray[np.float64]]] = {name: [] for name in self._measures}
        self._labels: dict[str, list[Labels]] = {"used": [], "images": [], "reconstructions": []}

    def add(self, images: Images, labels: Labels | None = None) -> tuple[Images, NDArray[np.float64]]:
        """Adds images uint8 [n, H, W, C] of the bundle's size, n at least 1, and, if they are labelled, their labels
        [n]. Returns their reconstructions, and the mean squared errors of these, float64 [n]. Raises LatentLoopError.
        """
        codes = self._sampler.encode(images)
        decoded = self._sampler.decode(codes)
        if self._classifies:
            for name, classified in (("images", images), ("reconstructions", decoded)):
                self._labels[name].append(self._sampler.classify(classified).probabilities.argmax(1).astype(np.int64))
            labels = labels if self._labelled else self._labels["reconstructions"][-1]
        self._totals.add(codes, labels)
        if labels is not None:
            self._labels["used"].append(labels)
        for name, measure in self._measures.items():
            self._errors[name].append(measure(images, decoded))
        return decoded, self._errors["squared_errors"][-1]

    def result(self) -> Evaluation:
        """Returns the figures of the images so far, at least one."""
        errors = {name: np.concatenate(values) for name, values in self._errors.items()}
        labels = {name: np.concatenate(values) for name, values in self._labels.items() if values}
        return Evaluation(
            image_shape=self._manifest.image,
            classes=self._manifest.classes,
            levels=self._totals.results(),
            squared_errors=errors["squared_errors"],
            ssim=errors.get("ssim"),
            ms_ssim=errors.get("ms_ssim"),
            labels=labels.get("used"),
            labels_are_given=self._labelled,
            predicted=labels.get("images"),
            predicted_of_reconstructions=labels.get("reconstructions"),
            missing=missing_figures(self._manifest, labelled=self._labelled),
        )


def missing_figures(manifest: Manifest, *, labelled: bool) -> dict[str, str]:
    """Returns why figures cannot be computed with a bundle, by figure. ``labelled``: whether images have labels."""
    height, width, _ = manifest.image
    size, found = f"images of {height} x {width} pixels", {}
    reasons = []
    if without := [level.name for level in manifest.levels if level.prior is None]:
        reasons.append(f"the bundle has no prior for {listed(without)}")
    needing = [level.name for level in manifest.levels if level.prior is not None and level.prior.classes]
    if needing and not labelled and manifest.classifier is None:
        reasons.append(
            f"the bits of {listed(needing)} depend on the class, the images have no labels of the bundle's classes, "
            "and the bundle has no classifier to find them"
        )
    if reasons:
        found["bits"] = "; ".join(reasons)
    if min(height, width) < SMALLEST:
        found["ssim"] = f"{size} are smaller than its window of {WINDOW} x {WINDOW}"
    if min(height, width) < SMALLEST_OF_SCALES:
        found["ms_ssim"] = f"{size} have too few scales, it needs {SMALLEST_OF_SCALES} x {SMALLEST_OF_SCALES}"
    no_labels = "the images have no labels of the bundle's classes" if manifest.classes else "the bundle has no classes"
    if not labelled:
        found["classes"] = no_labels
    if manifest.classifier is None or not labelled:
        found["accuracy"] = "the bundle has no classifier" if manifest.classifier is None else no_labels
    return found
