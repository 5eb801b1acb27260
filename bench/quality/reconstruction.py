"""How near reconstructions are to the images they were made of, and how the codes between them are used."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PEAK = 255  # the range of a pixel's value
LEAST = 1 / 12  # the mean squared error that rounding to integers makes alone; a smaller one is as good as none


def mean_squared_errors(images: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Of each pair over its values: two of uint8 [N, H, W, C] -> float64 [N], in squared grey levels (0 to 255²)."""
    differences = images.reshape(len(images), -1).astype(np.float32) - others.reshape(len(others), -1)
    found: NDArray[np.float64] = np.square(differences).mean(1, dtype=np.float64)
    return found


def psnr(errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean squared errors in squared grey levels -> peak signal-to-noise ratios in dB, 59 at most."""
    found: NDArray[np.float64] = 10 * np.log10(PEAK**2 / np.maximum(errors, LEAST))
    return found


def code_use(codes: NDArray[np.int64], codebook_size: int) -> tuple[int, float]:
    """How many codes of a codebook occur in ``codes`` (any shape), and the perplexity of how often each does.

    The perplexity is e to the entropy: K where all K codes occur equally often, 1 where one does alone.
    """
    shares = np.bincount(codes.ravel(), minlength=codebook_size) / codes.size
    shares = shares[shares > 0]
    return len(shares), float(np.exp(-(shares * np.log(shares)).sum()))
