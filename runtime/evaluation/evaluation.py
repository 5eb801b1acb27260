"""The figures of a bundle on a set of images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.evaluation.level_figures import LevelEvaluation, total_bits
from latentloop.evaluation.pixel_errors import PEAK, psnr

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How well a bundle encodes N images of ``image_shape`` (H, W, C). A figure that cannot be computed is None, and
    ``missing`` says why, by the figure: bits, ssim, ms_ssim, accuracy, classes.

    ``levels``: the codes of each level, from the top down.
    ``squared_errors`` float64 [N]: mean squared errors of the reconstructions, in squared grey levels (0 to 255²).
    ``ssim``, ``ms_ssim`` float64 [N]: at most 1, for an exact reconstruction.
    ``labels`` int64 [N]: the classes that the bits were computed with; ``labels_are_given`` unless the classifier
    found them, from the reconstructions.
    ``predicted``, ``predicted_of_reconstructions`` int64 [N]: the classes that the classifier finds most probable.
    """

    image_shape: tuple[int, int, int]
    classes: tuple[str, ...]
    levels: tuple[LevelEvaluation, ...]
    squared_errors: Floats
    ssim: Floats | None
    ms_ssim: Floats | None
    labels: Labels | None
    labels_are_given: bool
    predicted: Labels | None
    predicted_of_reconstructions: Labels | None
    missing: Mapping[str, str]

    @property
    def count(self) -> int:
        """N."""
        return len(self.squared_errors)

    @property
    def bits(self) -> Floats | None:
        """The bits of all codes of each image, float64 [N]: its negative log2-likelihood under the priors."""
        return total_bits(self.levels)

    @property
    def bits_per_image(self) -> float | None:
        """The mean of ``bits``."""
        return _mean(self.bits)

    @property
    def bits_per_dimension(self) -> float | None:
        """``bits_per_image`` divided by H * W * C: the cost of the codes, not a likelihood of the pixels."""
        return None if self.bits_per_image is None else self.bits_per_image / math.prod(self.image_shape)

    @property
    def psnr(self) -> Floats:
        """The peak signal-to-noise ratio of each image in dB, float64 [N]: 59 at most, as if at least rounded."""
        return psnr(self.squared_errors)

    @property
    def accuracy(self) -> float | None:
        """The share of images of which the classifier finds the given class."""
        return _mean(self._right(self.predicted))

    @property
    def accuracy_of_reconstructions(self) -> float | None:
        """The share of reconstructions of which the classifier finds the image's given class."""
        return _mean(self._right(self.predicted_of_reconstructions))

    def to_json(self) -> dict[str, Any]:
        """Returns the means as plain JSON types, as ``latentloop evaluate --json`` prints them."""
        mean_error = self.squared_errors.mean(keepdims=True)
        return {
            **self._means(np.arange(self.count)),
            "bits_per_dimension": self.bits_per_dimension,
            "mean_squared_error": float(mean_error[0]) / PEAK**2,
            "psnr_db": float(psnr(mean_error, least=0)[0]) if mean_error[0] else None,
            "levels": [
                {
                    "name": level.name,
                    "height": level.height,
                    "width": level.width,
                    "codebook_size": level.codebook_size,
                    "codes_used": level.codes_used,
                    "perplexity": level.perplexity,
                    "bits_per_code": level.bits_per_code,
                    "bits_per_image": level.bits_per_image,
                }
                for level in self.levels
            ],
            "labels": None if self.labels is None else "given" if self.labels_are_given else "classifier",
            "classes": self.by_class(),
            "missing": dict(self.missing),
        }

    def by_class(self) -> dict[str, dict[str, Any]] | None:
        """Returns the means over the images of each class that has any; None without given labels."""
        if self.labels is None or not self.labels_are_given:
            return None
        return {
            name: self._means(chosen)
            for label, name in enumerate(self.classes)
            if len(chosen := np.flatnonzero(self.labels == label))
        }

    def _means(self, chosen: NDArray[np.int64]) -> dict[str, Any]:
        return {
            "images": len(chosen),
            "bits_per_image": _mean(self.bits, chosen),
            "mean_psnr_db": _mean(self.psnr, chosen),
            "ssim": _mean(self.ssim, chosen),
            "ms_ssim": _mean(self.ms_ssim, chosen),
            "accuracy": _mean(self._right(self.predicted), chosen),
            "accuracy_of_reconstructions": _mean(self._right(self.predicted_of_reconstructions), chosen),
        }

    def _right(self, predicted: Labels | None) -> NDArray[np.bool_] | None:
        """Returns which predictions are the given class, [N]; None without a classifier or without given labels."""
        if self.labels is None or predicted is None or not self.labels_are_given:
            return None
        return np.asarray(predicted == self.labels)


def _mean(values: NDArray[Any] | None, chosen: NDArray[np.int64] | slice = slice(None)) -> float | None:
    return None if values is None else float(values[chosen].mean())
