"""Golden vectors: results that every backend must reproduce, computed by the specification in float64.

They are one npz file. Per level: seeds [n], labels [n], upper [n, H', W'] (if the prior has a condition), codes
[n, rows, W] drawn with the seeds (the first rows only for a large prior), and logits [n, m, K] at positions [m, 2].
``codec.*``: images, their codes, each code's relative margin to the second nearest codeword, and the decoded images;
the first image's codes without the last half of every level (-1), and the decoded image.
``classifier.*``: probabilities and features of the same images.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from latentloop.draws.draw_settings import DrawSettings
from latentloop.draws.reference import draw
from latentloop.draws.uniforms import uniforms
from latentloop.export.checkpoints.checkpoint import Checkpoint
from latentloop.export.configuration import PriorConfig, VqvaeConfig
from latentloop.export.models.build import build_classifier, build_vqvae
from latentloop.export.specification.rowstep import RowStep
from latentloop.export.specification.rowstep_weights import RowStepWeights
from latentloop.kernels.nearest_codebook.reference import nearest_reference

Arrays = dict[str, NDArray[Any]]

SAMPLES = 2
POSITIONS = 8  # per sample, for logits
BUDGET = 1.5e10  # multiply-adds for one prior's golden codes: about ten seconds in float64


def golden_prior(name: str, level: int, weights: RowStepWeights) -> Arrays:
    """Returns the golden vectors of one level's prior; ``level`` counts from the top."""
    c = weights.config
    rows = golden_rows(c)
    rng = np.random.default_rng(level)
    seeds = np.arange(1, SAMPLES + 1, dtype=np.uint64)
    labels = rng.integers(0, c.classes, SAMPLES) if c.classes else None
    upper = rng.integers(0, c.condition_codes, (SAMPLES, *c.condition_grid)) if c.condition_codes else None
    random = uniforms(seeds, level, c.height, c.width).astype(np.float64)
    spec = RowStep(weights)
    state, image_terms = spec.start(SAMPLES, rows), spec.condition(upper, labels)
    codes = np.empty((SAMPLES, rows, c.width), np.int64)
    logits = np.empty((rows, c.width, SAMPLES, c.codebook_size))
    settings = DrawSettings.of(SAMPLES)
    # disable=None: a progress bar only if stderr is a terminal
    for i in tqdm(range(rows), desc=f"golden vectors, {name}", unit="row", delay=1, leave=False, disable=None):
        row_terms = spec.row(state, image_terms, i)
        for j in range(c.width):
            logits[i, j] = spec.step(state, image_terms, row_terms, i, j)
            drawn = draw(logits[i, j], random[i, j], settings)
            state.codes[i + c.reach, j + c.reach] = codes[:, i, j] = drawn
    indices = np.unique(np.linspace(0, rows * c.width - 1, POSITIONS).astype(np.int64))
    positions = np.stack(np.divmod(indices, c.width), axis=1)
    golden: Arrays = {
        f"{name}.seeds": seeds,
        f"{name}.codes": codes,
        f"{name}.positions": positions,
        f"{name}.logits": logits[positions[:, 0], positions[:, 1]].transpose(1, 0, 2).astype(np.float32),
    }
    given = {"labels": labels, "upper": upper}
    return golden | {f"{name}.{key}": value for key, value in given.items() if value is not None}


def golden_rows(config: PriorConfig) -> int:
    """Returns how many rows ``BUDGET`` allows: all rows of an ordinary prior, at least one row of a large one."""
    c = config
    taps = (c.kernel - 1) * c.kernel + c.reach
    per_position = c.layers * taps * 3 * c.channels * c.residual_channels
    return max(1, min(c.height, int(BUDGET / (SAMPLES * c.width * per_position))))


def golden_codec(checkpoint: Checkpoint, size: tuple[int, int], images: NDArray[np.uint8] | None) -> Arrays:
    """Returns the golden vectors of the encoder and decoder.

    ``size``: (height, width). ``images`` [n, H, W, C]: real images; None for smooth noise.
    """
    config = checkpoint.config
    assert isinstance(config, VqvaeConfig)
    model = build_vqvae(checkpoint, "vqvae").double()
    if images is None:
        images = _smooth_noise(size, config.image_channels)
    scaled = _scaled(images)
    golden: Arrays = {"codec.images": images}
    with torch.no_grad():
        levels = model.quantise(scaled)
        decoded = model.decode([level.codes for level in levels]).permute(0, 2, 3, 1)
        for index, (name, level) in enumerate(zip(config.level_names, levels, strict=True)):
            golden[f"codec.codes.{name}"] = level.codes.numpy()
            z = level.z.permute(0, 2, 3, 1).numpy()
            codebook = model.codebook(index).embedding.numpy()
            nearest = nearest_reference(z.reshape(-1, config.code_channels), codebook)
            scale = np.square(z).sum(-1) + np.square(codebook).sum(1).max()
            margin = (nearest.runner_up - nearest.distance).reshape(scale.shape) / np.maximum(scale, 1e-30)
            golden[f"codec.margin.{name}"] = margin.astype(np.float32)
        partial = [_first_half(level.codes[:1]) for level in levels]
        half = model.decode(partial).permute(0, 2, 3, 1)
    golden["codec.decoded"] = decoded.numpy().astype(np.float32)
    golden |= {f"codec.partial.{name}": codes.numpy() for name, codes in zip(config.level_names, partial, strict=True)}
    golden["codec.partial_decoded"] = half.numpy().astype(np.float32)
    return golden


def _first_half(codes: torch.Tensor) -> torch.Tensor:
    """Returns codes [n, H, W] with -1 in place of the last half, in raster order: of one code, of this code."""
    partial = codes.flatten(1).clone()
    partial[:, partial.shape[1] // 2 :] = -1
    return partial.view_as(codes)


def golden_classifier(checkpoint: Checkpoint, images: NDArray[np.uint8]) -> Arrays:
    """Returns the golden vectors of the classifier, for images [n, H, W, C]."""
    model = build_classifier(checkpoint, "classifier").double()
    with torch.no_grad():
        logits, features = model(_scaled(images))
    return {
        "classifier.probabilities": torch.softmax(logits, 1).numpy().astype(np.float32),
        "classifier.features": features.numpy().astype(np.float32),
    }


def _scaled(images: NDArray[np.uint8]) -> torch.Tensor:
    """Converts uint8 [n, H, W, C] to float64 [n, C, H, W] in [-1, 1]."""
    return torch.from_numpy(images.astype(np.float64)).permute(0, 3, 1, 2) / 127.5 - 1


def _smooth_noise(size: tuple[int, int], channels: int) -> NDArray[np.uint8]:
    """Returns enlarged coarse noise [n, H, W, C], which is closer to real images than white noise."""
    rng = np.random.default_rng(0)
    height, width = size
    coarse = rng.integers(0, 256, (SAMPLES, -(-height // 8), -(-width // 8), channels), dtype=np.uint8)
    return np.ascontiguousarray(coarse.repeat(8, 1).repeat(8, 2)[:, :height, :width])
