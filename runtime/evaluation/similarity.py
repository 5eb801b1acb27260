"""SSIM (Wang, Bovik, Sheikh, Simoncelli 2004) and MS-SSIM (Wang, Simoncelli, Bovik 2003) of pairs of images.

With weighted means μ, variances σ² and the covariance σxy in a Gaussian window of 11 x 11 pixels, σ = 1.5,

    luminance = (2 μx μy + C1) / (μx² + μy² + C1),    contrast = (2 σxy + C2) / (σx² + σy² + C2)

on values of 0 to 255, with C1 = (0.01 · 255)² and C2 = (0.03 · 255)². SSIM is the mean of their product over all
windows that lie inside the image. MS-SSIM halves both images four times, by the means of 2 x 2 pixels (the last row or
column of an odd size is left out), and is the product of the means of the contrast at the first four scales and of the
SSIM at the last one, each to the power of its weight; a negative mean counts as 0. Each colour channel is compared for
itself, and the figure of an image is the mean of its channels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Floats = NDArray[np.float64]

WINDOW, SIGMA = 11, 1.5  # pixels
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, from the finest
SMALLEST = WINDOW  # pixels of the shorter side
SMALLEST_OF_SCALES = WINDOW * 2 ** (len(WEIGHTS) - 1)  # for MS-SSIM: 176


def ssim(images: Images, others: Images) -> Floats:
    """Two arrays of images uint8 [N, H, W, C], H and W at least 11 -> the SSIM of each pair, float64 [N]."""
    pairs = zip(images, others, strict=True)  # one at a time stays in a processor's cache
    return np.array([_compared(_planes(image), _planes(other))[0].mean() for image, other in pairs], np.float64)


def ms_ssim(images: Images, others: Images) -> Floats:
    """Two arrays of images uint8 [N, H, W, C], H and W at least 176 -> the MS-SSIM of each pair, float64 [N]."""
    return np.array([_over_scales(*map(_planes, pair)) for pair in zip(images, others, strict=True)], np.float64)


def _over_scales(image: Floats, other: Floats) -> float:
    """Returns the MS-SSIM of two images [C, H, W]."""
    product = np.ones(len(image))
    for scale, weight in enumerate(WEIGHTS):
        if scale:
            image, other = _halved(image), _halved(other)
        similarity, contrast = _compared(image, other)
        mean = similarity if scale == len(WEIGHTS) - 1 else contrast
        product *= np.maximum(mean, 0) ** weight
    return float(product.mean())


def _compared(image: Floats, other: Floats) -> tuple[Floats, Floats]:
    """Returns the means over all windows of SSIM and of the contrast, [C] each, of two images [C, H, W]."""
    # Only the sum of the variances is needed, so four maps are filtered and not five.
    maps = np.stack([image, other, image * image + other * other, image * other])
    x, y, squares, products = _filtered(_filtered(maps).swapaxes(2, 3))
    both, of_squares = x * y, x * x + y * y
    contrast = (2 * (products - both) + C2) / (squares - of_squares + C2)
    similarity = (2 * both + C1) / (of_squares + C1) * contrast
    return similarity.mean((1, 2)), contrast.mean((1, 2))


def window() -> Floats:
    """Returns the weights of a window along one axis, [11]: a Gaussian whose sum is 1."""
    weights = np.exp(-((np.arange(WINDOW) - WINDOW // 2) ** 2) / (2 * SIGMA**2))
    return np.asarray(weights / weights.sum())


def _filtered(maps: Floats) -> Floats:
    """Returns the weighted means of windows along the last axis: [..., W] -> [..., W - 10]."""
    weights, width = window(), maps.shape[-1] - WINDOW + 1
    result: Floats = weights[0] * maps[..., :width]
    term = np.empty_like(result)
    for offset in range(1, WINDOW):
        np.multiply(maps[..., offset : offset + width], weights[offset], out=term)
        result += term
    return result


def _halved(image: Floats) -> Floats:
    """Returns the means of 2 x 2 values: [C, H, W] -> [C, H // 2, W // 2]."""
    channels, height, width = image.shape
    even = image[:, : height // 2 * 2, : width // 2 * 2]
    means: Floats = even.reshape(channels, height // 2, 2, width // 2, 2).mean((2, 4))
    return means


def _planes(image: Images) -> Floats:
    """Returns the channels of an image: [H, W, C] -> [C, H, W]."""
    return np.ascontiguousarray(image.transpose(2, 0, 1), np.float64)
