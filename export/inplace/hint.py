"""A hint about a VQ-VAE's variant without a data set.

With the right variant, the encoder recovers more of the codes that were decoded to an image.
"""

from __future__ import annotations

import torch
from torch import Tensor

from latentloop.export.checkpoints.checkpoint import Checkpoint
from latentloop.export.configuration import VqvaeConfig
from latentloop.export.inplace.variant import VARIANTS, own_and_other
from latentloop.export.models.build import build_vqvae
from latentloop.export.models.vqvae import Vqvae

IMAGES, GRID = 16, 8  # GRID: rows and columns of the top level
CLEAR = 0.1  # minimum difference of the recovered share of bottom codes


def inplace_hint(vqvae: Checkpoint) -> str | None:
    """Returns a hint if the other variant of a VQ-VAE seems to be the right one, else None.

    Random codes are decoded and encoded; the codes that result are decoded and encoded again. Measured on six trained
    models, four of the current variant and two of the older one: with its own variant a model recovers 34 to 70 % of
    the bottom level's codes in the second pass, with the other variant 11 to 54 %; the difference is at least 10 % of
    all codes in each model.
    """
    config = vqvae.config
    assert isinstance(config, VqvaeConfig)
    own, other = map(_recovered, own_and_other(vqvae))
    if any(b <= a for a, b in zip(own, other, strict=True)) or other[1] < own[1] + CLEAR:
        return None
    return (
        f"of the {config.level_names[-1]} level's codes {other[1]:.0%} are recovered after decoding and encoding in "
        f"{VARIANTS[not config.inplace]}, {own[1]:.0%} in {VARIANTS[config.inplace]}: the VQ-VAE may need "
        f"--{'no-' * config.inplace}vqvae-inplace; --data FOLDER measures it"
    )


@torch.no_grad()
def _recovered(vqvae: Checkpoint) -> tuple[float, float]:
    """Returns the share of the lowest level's codes that are recovered: of random codes, and of the encoder's codes."""
    model, generator = build_vqvae(vqvae, "vqvae"), torch.Generator().manual_seed(0)
    config = model.config
    grids = (GRID << level for level in range(config.levels))
    codes = [torch.randint(config.codebook_size, (IMAGES, grid, grid), generator=generator) for grid in grids]
    first = _decode_and_encode(model, codes)
    return _equal_share(codes, first), _equal_share(first, _decode_and_encode(model, first))


def _decode_and_encode(model: Vqvae, codes: list[Tensor]) -> list[Tensor]:
    """Decodes codes to images of 8 bits per channel, like those in files, and encodes these."""
    pixels = ((model.decode(codes).clamp(-1, 1) + 1) * 127.5).round()
    return [level.codes for level in model.quantise(pixels / 127.5 - 1)]


def _equal_share(a: list[Tensor], b: list[Tensor]) -> float:
    return float((a[-1] == b[-1]).float().mean())
