"""Errors of reconstructions, pixel by pixel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PEAK = 255  # the range of a pixel's value
LEAST = 1 / 12  # the mean squared error of rounding to integers; smaller errors count as this in a mean of PSNRs


def mean_squared_errors(images: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Two arrays of images uint8 [N, H, W, C] -> each pair's error, float64 [N], in squared grey levels (0 to 255²)."""
    differences = images.reshape(len(images), -1).astype(np.float32) - others.reshape(len(others), -1)
    errors: NDArray[np.float64] = np.square(differences).mean(1, dtype=np.float64)
    return errors


def psnr(errors: NDArray[np.float64], least: float = LEAST) -> NDArray[np.float64]:
    """Mean squared errors in squared grey levels -> peak signal-to-noise ratios in dB. Smaller errors count as
    ``least``: with its default the ratio is 59 at most.
    """
    ratios: NDArray[np.float64] = 10 * np.log10(PEAK**2 / np.maximum(errors, least))
    return ratios
