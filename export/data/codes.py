"""A data set encoded by the trained VQ-VAE: the training data of the priors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from latentloop.errors import InputError
from latentloop.export.data.datasets import Dataset, batches_of
from latentloop.export.data.pixels import EVALUATION_BATCH, to_signed
from latentloop.export.models.vqvae import Vqvae

MAX_CODES = np.iinfo(np.int16).max + 1

Levels = list[NDArray[np.int16]]  # codes [N, H, W] of a data set, top level first


@dataclass(frozen=True)
class Codes:
    """Training data of one level's prior: codes [N, H, W] int16, codes of the level above [N, H', W'] int16 or None,
    labels [N] int64 or None.
    """

    codes: Tensor
    upper: Tensor | None
    labels: Tensor | None

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, indices: Tensor | slice) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Returns a batch as the prior's inputs, int64: codes, codes of the level above, labels."""
        upper = None if self.upper is None else self.upper[indices].long()
        return self.codes[indices].long(), upper, None if self.labels is None else self.labels[indices]

    def to(self, device: str) -> Codes:
        """Returns the same codes on another device."""
        upper, labels = (None if tensor is None else tensor.to(device) for tensor in (self.upper, self.labels))
        return Codes(self.codes.to(device), upper, labels)


def codes_of_level(levels: Levels, index: int, labels: NDArray[np.int64] | None) -> Codes:
    """Returns the training data of one level's prior. The labels repeat if the codes of mirrored images follow."""
    if labels is not None:
        labels = np.tile(labels, len(levels[index]) // len(labels))
    upper = levels[index - 1] if index else None
    optional = (None if array is None else torch.from_numpy(array) for array in (upper, labels))
    return Codes(torch.from_numpy(levels[index]), *optional)


@torch.no_grad()
def encode(model: Vqvae, data: Dataset, *, flip: bool = False, device: str = "cpu", progress: bool = True) -> Levels:
    """Encodes a data set; ``flip`` appends the codes of the mirrored images.

    Raises InputError for a codebook of more than 32768 codes.
    """
    if model.config.codebook_size > MAX_CODES:
        raise InputError(f"codebook_size is {model.config.codebook_size}, expected at most {MAX_CODES} for a prior")
    batches: list[list[NDArray[np.int16]]] = [[] for _ in range(model.config.levels)]
    disable = None if progress else True  # None: no bar if stderr is not a terminal
    for mirror in (False, True) if flip else (False,):
        parts = batches_of(len(data), EVALUATION_BATCH)
        for part in tqdm(parts, "encoding", unit="batch", disable=disable, leave=False):
            images = to_signed(torch.from_numpy(data.images[part]).to(device))
            for level_batches, level in zip(batches, model.quantise(images.flip(3) if mirror else images), strict=True):
                level_batches.append(level.codes.to(torch.int16).cpu().numpy())
    return [np.concatenate(level_batches) for level_batches in batches]
