"""A data set as codes, encoded once by the trained VQ-VAE: what the priors learn from, and are measured on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from latentloop.errors import InputError
from latentloop.export.models.pixelsnail import PixelSnail
from latentloop.export.models.vqvae import Vqvae
from latentloop.export.train.data.datasets import Dataset, batches_of
from latentloop.export.train.data.pixels import EVALUATION_BATCH, to_signed

MOST_CODES = np.iinfo(np.int16).max + 1

Levels = list[NDArray[np.int16]]  # codes [N, H, W] of a data set, top level first


@dataclass(frozen=True)
class Codes:
    """One level's codes [N, H, W] and those above it [N, H', W'] or None, int16; labels [N] int64 or None."""

    codes: Tensor
    upper: Tensor | None
    labels: Tensor | None

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, indices: Tensor | slice) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """What the model takes, int64: codes, upper codes, labels."""
        upper = None if self.upper is None else self.upper[indices].long()
        return self.codes[indices].long(), upper, None if self.labels is None else self.labels[indices]

    def to(self, device: str) -> Codes:
        """The same codes on another device."""
        moved = (None if part is None else part.to(device) for part in (self.upper, self.labels))
        return Codes(self.codes.to(device), *moved)


def of_level(levels: Levels, index: int, labels: NDArray[np.int64] | None) -> Codes:
    """What the prior of one level learns from; the labels repeat where mirrored images follow the others."""
    if labels is not None:
        labels = np.tile(labels, len(levels[index]) // len(labels))
    upper = levels[index - 1] if index else None
    parts = (None if part is None else torch.from_numpy(part) for part in (upper, labels))
    return Codes(torch.from_numpy(levels[index]), *parts)


@torch.no_grad()
def encode(model: Vqvae, data: Dataset, *, flip: bool = False, device: str = "cpu", progress: bool = True) -> Levels:
    """Encodes a data set; ``flip`` appends the codes of the mirrored images.

    Raises InputError for a codebook of more than 32768 codes.
    """
    if model.config.codebook_size > MOST_CODES:
        raise InputError(f"codebook_size is {model.config.codebook_size}, expected at most {MOST_CODES} for a prior")
    found: list[list[NDArray[np.int16]]] = [[] for _ in range(model.config.levels)]
    quiet = None if progress else True
    for mirrored in (False, True) if flip else (False,):
        for part in tqdm(batches_of(len(data), EVALUATION_BATCH), "encoding", unit="batch", disable=quiet, leave=False):
            images = to_signed(torch.from_numpy(data.images[part]).to(device))
            for codes, level in zip(found, model.quantise(images.flip(3) if mirrored else images), strict=True):
                codes.append(level.codes.to(torch.int16).cpu().numpy())
    return [np.concatenate(codes) for codes in found]


@torch.no_grad()
def bits_per_code(model: PixelSnail, data: Codes, batch: int = 100) -> float:
    """The mean negative log2-likelihood of a code, without dropout."""
    model.eval()
    total = 0.0
    for part in batches_of(len(data), batch):
        codes, upper, labels = data.take(part)
        total += float(functional.cross_entropy(model(codes, upper, labels), codes, reduction="sum"))
    return total / data.codes.numel() / math.log(2)
