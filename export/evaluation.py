"""Metrics of trained networks on held-out data."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from latentloop.evaluation import code_use
from latentloop.export.data.codes import Codes
from latentloop.export.data.datasets import Dataset, batches_of
from latentloop.export.data.pixels import EVALUATION_BATCH, to_signed
from latentloop.export.models.classifier import Classifier
from latentloop.export.models.pixelsnail import PixelSnail
from latentloop.export.models.vqvae import Vqvae


@torch.no_grad()
def reconstruction_metrics(model: Vqvae, images: NDArray[np.uint8], device: str = "cpu") -> dict[str, Any]:
    """Returns the metrics of a VQ-VAE on images [N, H, W, C] uint8, the first two as ``latentloop reconstruct`` does.

    - ``mean_squared_error``: between images and reconstructions as 8-bit pixels, on the scale 0 to 1;
    - ``psnr_db``: the peak signal-to-noise ratio of this error, None if the error is 0;
    - ``texture``: fine detail of the reconstructions, not clipped, as a fraction of that of the originals;
    - ``perplexity``, ``codes_used``: per level, the codebook's perplexity and the number of codes that occur.
    """
    size = model.config.codebook_size
    histograms = [torch.zeros(size, dtype=torch.int64) for _ in range(model.config.levels)]
    squared_error, decoded_texture, original_texture = 0.0, 0.0, 0.0
    for part in batches_of(len(images), EVALUATION_BATCH):
        originals = to_signed(torch.from_numpy(images[part]).to(device))
        levels = model.quantise(originals)
        decoded = model.decode_codewords([level.codewords for level in levels])
        squared_error += float((_pixels(decoded) - _pixels(originals)).square().sum(dtype=torch.float64)) / 255**2
        decoded_texture += texture(decoded) * len(originals)
        original_texture += texture(originals) * len(originals)
        for histogram, level in zip(histograms, levels, strict=True):
            histogram += torch.bincount(level.codes.flatten().cpu(), minlength=size)
    error = squared_error / images.size
    by_level = dict(zip(model.config.level_names, histograms, strict=True))
    return {
        "mean_squared_error": error,
        "psnr_db": -10 * math.log10(error) if error else None,
        "texture": decoded_texture / original_texture if original_texture else 1.0,
        "perplexity": {name: code_use.perplexity(histogram.numpy()) for name, histogram in by_level.items()},
        "codes_used": {name: code_use.codes_used(histogram.numpy()) for name, histogram in by_level.items()},
    }


@torch.no_grad()
def code_counts(model: Vqvae, images: NDArray[np.uint8]) -> list[NDArray[np.int64]]:
    """Returns how often each code occurs in images [N, H, W, C] uint8: int64 [K] by level, top first."""
    counts = [np.zeros(model.config.codebook_size, np.int64) for _ in range(model.config.levels)]
    for part in batches_of(len(images), EVALUATION_BATCH):
        for count, level in zip(counts, model.quantise(to_signed(torch.from_numpy(images[part]))), strict=True):
            count += code_use.code_counts(level.codes.numpy(), len(count))
    return counts


def _pixels(images: Tensor) -> Tensor:
    """Images in [-1, 1] -> 8-bit values, as float32; rounded and clipped as by a bundle's decoder."""
    return ((images + 1) * 127.5).round().clamp(0, 255)


def texture(images: Tensor) -> float:
    """Returns the mean square of each value's difference from its 3 x 3 mean: images [N, C, H, W] in [-1, 1]."""
    smooth = functional.avg_pool2d(images, 3, stride=1)
    return float((images[:, :, 1:-1, 1:-1] - smooth).square().mean(dtype=torch.float64))


@torch.no_grad()
def bits_per_code(model: PixelSnail, data: Codes, batch: int = 100) -> float:
    """Returns a prior's mean negative log2-likelihood per code, without dropout."""
    model.eval()
    nats = 0.0
    for part in batches_of(len(data), batch):
        codes, upper, labels = data.take(part)
        nats += float(functional.cross_entropy(model(codes, upper, labels), codes, reduction="sum"))
    return nats / data.codes.numel() / math.log(2)


@torch.no_grad()
def classification_metrics(
    model: Classifier, data: Dataset, classes: tuple[str, ...], device: str = "cpu"
) -> dict[str, Any]:
    """Returns the accuracy, the accuracy of each class that occurs in the labels, and the cross-entropy in nats."""
    assert data.labels is not None
    labels = torch.from_numpy(data.labels)
    images = torch.from_numpy(data.images)
    parts = batches_of(len(data), EVALUATION_BATCH)
    logits = torch.cat([model(to_signed(images[part].to(device)))[0].cpu() for part in parts])
    is_correct = (logits.argmax(1) == labels).double()
    is_of_class = {name: labels == label for label, name in enumerate(classes)}
    return {
        "accuracy": float(is_correct.mean()),
        "accuracy_by_class": {name: float(is_correct[mask].mean()) for name, mask in is_of_class.items() if mask.any()},
        "cross_entropy": float(functional.cross_entropy(logits.double(), labels)),
    }
