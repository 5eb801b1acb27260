"""Golden vectors: what every backend must reproduce, computed once in float64 by the specification.

One npz file. Per level: seeds [n], labels [n], upper [n, H', W'] (given, where the prior has a condition), codes
[n, rows, W] drawn with the seeds, and logits [n, m, K] at positions [m, 2]. A large prior's golden codes are its
first rows only. ``codec.*``: images, their codes with each code's margin, and what those decode to. ``classifier.*``:
those images' probabilities and features.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from latentloop.draws.uniforms import uniforms
from latentloop.export.checkpoints.checkpoint import Checkpoint
from latentloop.export.configuration import PriorConfig, VqvaeConfig
from latentloop.export.models.build import build_classifier, build_vqvae
from latentloop.export.specification.draw import draw
from latentloop.export.specification.rowstep import RowStep
from latentloop.export.specification.rowstep_weights import RowStepWeights
from latentloop.kernels.nearest_codebook.reference import nearest_reference

Arrays = dict[str, NDArray[Any]]

SAMPLES = 2
POSITIONS = 8  # logits kept per sample
BUDGET = 1.5e10  # multiply-adds that one prior's golden codes may take: ten seconds or so in float64


def golden_prior(name: str, level: int, weights: RowStepWeights) -> Arrays:
    """Golden vectors of one level's prior; ``level`` counts from the top."""
    c = weights.config
    rows = golden_rows(c)
    rng = np.random.default_rng(level)
    seeds = np.arange(1, SAMPLES + 1, dtype=np.uint64)
    labels = rng.integers(0, c.classes, SAMPLES) if c.classes else None
    upper = rng.integers(0, c.condition_codes, (SAMPLES, *c.condition_grid)) if c.condition_codes else None
    random = uniforms(seeds, level, c.height, c.width).astype(np.float64)
    spec = RowStep(weights)
    state, fixed = spec.start(SAMPLES, rows), spec.condition(upper, labels)
    codes = np.empty((SAMPLES, rows, c.width), np.int64)
    logits = np.empty((rows, c.width, SAMPLES, c.codebook_size))
    plain, off = np.ones(SAMPLES), np.full(SAMPLES, c.codebook_size)
    # disable=None: no bar unless stderr is a terminal
    for i in tqdm(range(rows), desc=f"golden vectors, {name}", unit="row", delay=1, leave=False, disable=None):
        terms = spec.row(state, fixed, i)
        for j in range(c.width):
            logits[i, j] = spec.step(state, fixed, terms, i, j)
            drawn = draw(logits[i, j], random[i, j], plain, off, plain)
            state.codes[i + c.reach, j + c.reach] = codes[:, i, j] = drawn
    chosen = np.unique(np.linspace(0, rows * c.width - 1, POSITIONS).astype(np.int64))
    positions = np.stack(np.divmod(chosen, c.width), axis=1)
    found: Arrays = {
        f"{name}.seeds": seeds,
        f"{name}.codes": codes,
        f"{name}.positions": positions,
        f"{name}.logits": logits[positions[:, 0], positions[:, 1]].transpose(1, 0, 2).astype(np.float32),
    }
    if labels is not None:
        found[f"{name}.labels"] = labels
    if upper is not None:
        found[f"{name}.upper"] = upper
    return found


def golden_rows(config: PriorConfig) -> int:
    """As many rows as the budget allows: all of an ordinary prior, at least one of a large one."""
    c = config
    taps = (c.kernel - 1) * c.kernel + c.reach
    per_position = c.layers * taps * 3 * c.channels * c.residual_channels
    return max(1, min(c.height, int(BUDGET / (SAMPLES * c.width * per_position))))


def golden_codec(checkpoint: Checkpoint, image: tuple[int, int], images: NDArray[np.uint8] | None) -> Arrays:
    """Golden vectors of the encoder and decoder. ``images`` [n, H, W, C] are real ones, or smooth noise."""
    config = checkpoint.config
    assert isinstance(config, VqvaeConfig)
    model = build_vqvae(checkpoint, "vqvae").double()
    if images is None:
        images = _smooth_noise(image, config.image_channels)
    scaled = _scaled(images)
    found: Arrays = {"codec.images": images}
    with torch.no_grad():
        levels = model.quantise(scaled)
        decoded = model.decode([level.codes for level in levels]).permute(0, 2, 3, 1)
        for index, (name, level) in enumerate(zip(config.level_names, levels, strict=True)):
            found[f"codec.codes.{name}"] = level.codes.numpy()
            z = level.z.permute(0, 2, 3, 1).numpy()
            codebook = model.codebook(index).embedding.numpy()
            nearest = nearest_reference(z.reshape(-1, config.code_channels), codebook)
            scale = np.square(z).sum(-1) + np.square(codebook).sum(1).max()
            margin = (nearest.runner_up - nearest.distance).reshape(scale.shape) / np.maximum(scale, 1e-30)
            found[f"codec.margin.{name}"] = margin.astype(np.float32)
    found["codec.decoded"] = decoded.numpy().astype(np.float32)
    return found


def golden_classifier(checkpoint: Checkpoint, images: NDArray[np.uint8]) -> Arrays:
    """Golden vectors of the classifier, for images [n, H, W, C]."""
    model = build_classifier(checkpoint, "classifier").double()
    with torch.no_grad():
        logits, features = model(_scaled(images))
    return {
        "classifier.probabilities": torch.softmax(logits, 1).numpy().astype(np.float32),
        "classifier.features": features.numpy().astype(np.float32),
    }


def _scaled(images: NDArray[np.uint8]) -> torch.Tensor:
    """uint8 [n, H, W, C] -> float64 [n, C, H, W] in [-1, 1]."""
    return torch.from_numpy(images.astype(np.float64)).permute(0, 3, 1, 2) / 127.5 - 1


def _smooth_noise(image: tuple[int, int], channels: int) -> NDArray[np.uint8]:
    """[n, H, W, C]: coarse noise, enlarged: closer to pictures than white noise is."""
    rng = np.random.default_rng(0)
    height, width = image
    coarse = rng.integers(0, 256, (SAMPLES, -(-height // 8), -(-width // 8), channels), dtype=np.uint8)
    return np.ascontiguousarray(coarse.repeat(8, 1).repeat(8, 2)[:, :height, :width])
