"""Named hyper-parameters of a VQ-VAE with its priors.

``rosinality-256`` holds the defaults of the common PyTorch implementation; ``paper-256`` the paper's table for
ImageNet 256 x 256. ``paper-1024`` follows the text for FFHQ 1024 x 1024 (three levels of 32, 64 and 128);
the sizes of its middle and bottom priors are assumed, because the paper does not state them.
"""

from __future__ import annotations

from dataclasses import dataclass

from latentloop.errors import InputError
from latentloop.export.configuration import PriorConfig, VqvaeConfig


@dataclass(frozen=True)
class Preset:
    """A VQ-VAE and one prior per level, top first."""

    vqvae: VqvaeConfig
    priors: tuple[PriorConfig, ...]


PRESETS: dict[str, Preset] = {
    "rosinality-256": Preset(
        VqvaeConfig(residual_channels=32),
        (
            PriorConfig(32, 32),
            PriorConfig(64, 64, attention=False, condition_codes=512, condition_channels=256, condition_blocks=3),
        ),
    ),
    "paper-256": Preset(
        VqvaeConfig(),
        (
            PriorConfig(
                32, 32, channels=512, residual_channels=2048, residual_blocks=5, output_blocks=20,
                classes=1000, class_channels=512,
            ),
            PriorConfig(
                64, 64, channels=512, residual_channels=1024, residual_blocks=5, attention=False, output_blocks=20,
                condition_codes=512, condition_channels=1024, condition_blocks=20, classes=1000, class_channels=512,
            ),
        ),
    ),
    "paper-1024": Preset(
        VqvaeConfig(levels=3, bottom_stride=8),
        (
            PriorConfig(32, 32, channels=512, residual_channels=2048, residual_blocks=5, output_blocks=20),
            PriorConfig(
                64, 64, channels=512, residual_channels=1024, blocks=1, residual_blocks=20, output_blocks=20,
                condition_codes=512, condition_channels=1024, condition_blocks=20,
            ),
            PriorConfig(
                128, 128, channels=512, residual_channels=1024, blocks=2, residual_blocks=5, attention=False,
                output_blocks=20, condition_codes=512, condition_channels=1024, condition_blocks=20,
            ),
        ),
    ),
}  # fmt: skip


def preset(name: str) -> Preset:
    """Returns the preset of a name. Raises InputError that lists the existing names."""
    if name not in PRESETS:
        raise InputError(f"no preset {name!r}, expected one of {', '.join(PRESETS)}")
    return PRESETS[name]
