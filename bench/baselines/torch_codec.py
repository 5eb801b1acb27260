"""Encoding and decoding with the PyTorch modules, common to all baselines."""

from __future__ import annotations

import time

import numpy as np
import torch
from numpy.typing import NDArray

from latentloop.bench.baselines.implementation import Codes
from latentloop.export.models.vqvae import Vqvae

BATCH = 16  # images at once, as LatentLoop does


class TorchCodec:
    """The encoder and decoder of a VQ-VAE in PyTorch, timed."""

    vqvae: Vqvae

    def decode(self, codes: dict[str, Codes]) -> float:
        """Decodes codes by level [N, h, w], top first; returns seconds."""
        tensors = [torch.from_numpy(values) for values in codes.values()]
        begin = time.perf_counter()
        with torch.inference_mode():
            for start in range(0, len(tensors[0]), BATCH):
                self.vqvae.decode([values[start : start + BATCH] for values in tensors])
        return time.perf_counter() - begin

    def encode(self, images: NDArray[np.uint8]) -> float:
        """Encodes images [N, H, W, C]; returns seconds."""
        begin = time.perf_counter()
        with torch.inference_mode():
            for start in range(0, len(images), BATCH):
                scaled = torch.from_numpy(images[start : start + BATCH]).permute(0, 3, 1, 2) / 127.5 - 1
                self.vqvae.quantise(scaled)
        return time.perf_counter() - begin
