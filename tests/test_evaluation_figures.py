"""Figures of an evaluation: errors, SSIM, MS-SSIM and the use of codes, each against a plain formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from latentloop.evaluation.code_use import code_counts, codes_used, perplexity
from latentloop.evaluation.pixel_errors import LEAST, mean_squared_errors, psnr
from latentloop.evaluation.selection import select_evenly
from latentloop.evaluation.similarity import SMALLEST_OF_SCALES, WEIGHTS, ms_ssim, ssim

Images = NDArray[np.uint8]


def noisy_pair(shape: tuple[int, int, int], strength: float, seed: int = 0) -> tuple[Images, Images]:
    rng = np.random.default_rng(seed)
    smooth = np.add.outer(np.linspace(0, 120, shape[0]), np.linspace(0, 90, shape[1]))[..., None]
    image = smooth + rng.normal(0, 15, shape)
    other = image + rng.normal(0, strength, shape)
    return tuple(each.round().clip(0, 255).astype(np.uint8)[None] for each in (image, other))  # type: ignore[return-value]


def compared(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Returns the means of SSIM and of its contrast over all windows of two planes [H, W], window by window."""
    offsets = np.arange(11) - 5
    weights = np.exp(-np.add.outer(offsets**2, offsets**2) / (2 * 1.5**2))
    weights /= weights.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    both, contrasts = [], []
    for i in range(x.shape[0] - 10):
        for j in range(x.shape[1] - 10):
            a, b = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
            mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
            variances = (weights * (a - mean_a) ** 2).sum() + (weights * (b - mean_b) ** 2).sum()
            covariance = (weights * (a - mean_a) * (b - mean_b)).sum()
            contrast = (2 * covariance + c2) / (variances + c2)
            both.append((2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1) * contrast)
            contrasts.append(contrast)
    return float(np.mean(both)), float(np.mean(contrasts))


def test_errors_and_psnr() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), np.uint8)
    others = np.random.default_rng(1).integers(0, 256, (5, 4, 6, 3), np.uint8)
    others[4] = images[4]
    errors = mean_squared_errors(images, others)
    for image, other, error in zip(images.astype(int), others.astype(int), errors, strict=True):
        assert error == pytest.approx(((image - other) ** 2).mean())
    assert psnr(np.array([255.0**2, 255.0**2 / 1000])) == pytest.approx([0, 30])
    assert psnr(errors)[4] == pytest.approx(10 * math.log10(255**2 / LEAST))  # not infinite


def test_use_of_codes() -> None:
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    every_code, one_code, two_codes = np.arange(8).reshape(2, 2, 2), np.full((2, 3), 5), np.array([7, 2, 7, 7])
    for codes, expected in ((every_code, (8, 8.0)), (one_code, (1, 1.0)), (two_codes, (2, math.exp(entropy)))):
        counts = code_counts(codes, 8)
        assert (codes_used(counts), perplexity(counts)) == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(11, 11, 1), (13, 20, 3), (24, 17, 3)])
@pytest.mark.parametrize("strength", [0, 3, 40])
def test_ssim_is_the_mean_over_windows(shape: tuple[int, int, int], strength: float) -> None:
    image, other = noisy_pair(shape, strength)
    planes = [compared(image[0, ..., c].astype(float), other[0, ..., c].astype(float))[0] for c in range(shape[2])]
    assert ssim(image, other) == pytest.approx(np.mean(planes), abs=1e-10)
    assert (ssim(image, other)[0] == pytest.approx(1)) == (strength == 0)


def test_ms_ssim_is_a_product_over_scales() -> None:
    image, other = noisy_pair((SMALLEST_OF_SCALES, SMALLEST_OF_SCALES + 9, 1), 30)
    x, y = (each[0, ..., 0].astype(float) for each in (image, other))
    product = 1.0
    for scale, weight in enumerate(WEIGHTS):
        similarity, contrast = compared(x, y)
        product *= (similarity if scale == 4 else contrast) ** weight
        height, width = (size // 2 * 2 for size in x.shape)
        x, y = ((a[:height:2, :width:2] + a[1:height:2, :width:2] + a[:height:2, 1:width:2] + a[1:height:2, 1:width:2])
                / 4 for a in (x, y))  # fmt: skip
    assert ms_ssim(image, other) == pytest.approx(product, abs=1e-10)
    assert ms_ssim(image, image) == pytest.approx(1)


def test_images_that_are_opposites_have_no_similarity_over_scales() -> None:
    image, _ = noisy_pair((SMALLEST_OF_SCALES, SMALLEST_OF_SCALES, 3), 0)
    assert ms_ssim(image, 255 - image) == pytest.approx(0)
    assert ssim(image, 255 - image)[0] < 0


def test_ssim_is_that_of_scikit_image() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    image, other = noisy_pair((40, 52, 3), 20)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    planes = [
        metrics.structural_similarity(image[0, ..., c], other[0, ..., c], full=True, **settings)[1][5:-5, 5:-5].mean()
        for c in range(3)
    ]
    assert ssim(image, other) == pytest.approx(np.mean(planes), abs=1e-7)


def test_a_selection_is_balanced_and_evenly_spaced() -> None:
    assert select_evenly(3, 5, None).tolist() == [0, 1, 2]
    assert select_evenly(10, 5, None).tolist() == [0, 2, 4, 6, 8]
    labels = np.array([0] * 10 + [1] * 4 + [2])
    chosen = select_evenly(15, 8, labels)
    assert np.bincount(labels[chosen]).tolist() == [4, 3, 1]
    assert chosen.tolist() == [0, 2, 5, 7, 10, 11, 12, 14]


def test_fewer_images_than_classes_are_spread_over_the_classes() -> None:
    labels = np.repeat(np.arange(8), 5)
    for n, classes in ((1, [0]), (2, [0, 4]), (4, [0, 2, 4, 6]), (8, list(range(8)))):
        assert labels[select_evenly(40, n, labels)].tolist() == classes
    assert np.bincount(labels[select_evenly(40, 10, labels)]).tolist() == [2, 1, 1, 1, 2, 1, 1, 1]


def test_every_selection_has_its_size_and_is_as_balanced_as_can_be() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        labels = rng.integers(0, 6, rng.integers(1, 30)) * 2
        n = int(rng.integers(1, len(labels) + 1))
        chosen = select_evenly(len(labels), n, labels)
        assert len(set(chosen.tolist())) == len(chosen) == n
        counts, available = (np.bincount(each, minlength=11) for each in (labels[chosen], labels))
        assert (counts[counts < available] >= counts.max() - 1).all()
