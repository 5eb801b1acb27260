"""A hint of a VQ-VAE's form without any data: in the right one, its encoder finds more of its decoder's codes again."""

from __future__ import annotations

import torch
from torch import Tensor

from latentloop.export.checkpoints.checkpoint import Checkpoint
from latentloop.export.configuration import VqvaeConfig
from latentloop.export.forms.form import FORMS, in_form
from latentloop.export.models.build import build_vqvae
from latentloop.export.models.vqvae import Vqvae

IMAGES, GRID = 16, 8  # and rows and columns of the top level
CLEAR = 0.1  # the share of bottom codes by which one form must do better


def form_hint(vqvae: Checkpoint) -> str | None:
    """What to say of a VQ-VAE whose other form looks right; None where nothing does.

    Random codes, and then what the encoder makes of their images, are decoded and encoded. Measured on six trained
    models, four of today's form and two of the older one: read in their own form, 34 to 70 % of the latter codes
    survive in the bottom level, in the other form 11 to 54 %, and in each model at least a tenth of all codes fewer.
    """
    config = vqvae.config
    assert isinstance(config, VqvaeConfig)
    own, other = (_survivors(in_form(vqvae, form)) for form in (config.inplace, not config.inplace))
    if any(b <= a for a, b in zip(own, other, strict=True)) or other[1] < own[1] + CLEAR:
        return None
    return (
        f"of the {config.level_names[-1]} level's codes {other[1]:.0%} survive decoding and encoding in "
        f"{FORMS[not config.inplace]}, {own[1]:.0%} in {FORMS[config.inplace]}: the VQ-VAE may be of the other form; "
        f"--data FOLDER finds out, --{'no-' * config.inplace}vqvae-inplace says so"
    )


@torch.no_grad()
def _survivors(vqvae: Checkpoint) -> tuple[float, float]:
    """The share of the lowest level's codes that come back: of random ones, and of the encoder's own."""
    model, generator = build_vqvae(vqvae, "vqvae"), torch.Generator().manual_seed(0)
    config = model.config
    grids = (GRID << level for level in range(config.levels))
    codes = [torch.randint(config.codebook_size, (IMAGES, grid, grid), generator=generator) for grid in grids]
    once = _back(model, codes)
    return _same(codes, once), _same(once, _back(model, once))


def _back(model: Vqvae, codes: list[Tensor]) -> list[Tensor]:
    """Codes of the images that codes decode to, which have 8 bits as files have."""
    pixels = ((model.decode(codes).clamp(-1, 1) + 1) * 127.5).round()
    return [level.codes for level in model.quantise(pixels / 127.5 - 1)]


def _same(one: list[Tensor], other: list[Tensor]) -> float:
    return float((one[-1] == other[-1]).float().mean())
