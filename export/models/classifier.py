"""The classifier of images: a small residual network with group normalisation.

Rejection sampling (VQ-VAE-2, section 3.3) selects the samples with the highest probability of their label; its features
measure how close samples are to real images. Tensors are [N, C, H, W]; images are x / 127.5 - 1.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from latentloop.export.configuration import ClassifierConfig

EPSILON = 1e-5  # of the normalisation


class ResidualBlock(nn.Module):
    """skip(x) + conv2(relu(norm2(conv1(relu(norm1(x)))))); the skip is x itself unless size or channels change."""

    def __init__(self, in_channels: int, channels: int, groups: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, in_channels, EPSILON)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1)
        self.norm2 = nn.GroupNorm(groups, channels, EPSILON)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.skip = nn.Conv2d(in_channels, channels, 1, stride=stride) if in_channels != channels else None

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, channels, H', W'], of half the size (rounded up) at stride 2."""
        inner = self.conv1(functional.relu(self.norm1(x)))
        out: Tensor = self.conv2(functional.relu(self.norm2(inner)))
        return out + (x if self.skip is None else self.skip(x))


class Classifier(nn.Module):
    """Stages of residual blocks, each at half the size of the previous one, the mean over the image, and logits."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        widths, groups = config.widths, config.groups
        self.stem = nn.Conv2d(config.image_channels, widths[0], 3, stride=2, padding=1)
        stages = [[ResidualBlock(widths[0], widths[0], groups, stride=1)]]
        stages += [[ResidualBlock(a, b, groups, stride=2)] for a, b in pairwise(widths)]
        for stage, width in zip(stages, widths, strict=True):
            stage += [ResidualBlock(width, width, groups, stride=1) for _ in range(config.residual_blocks - 1)]
        self.stages = nn.ModuleList(nn.Sequential(*stage) for stage in stages)
        self.norm = nn.GroupNorm(groups, widths[-1], EPSILON)
        self.logits = nn.Linear(config.features, config.classes)

    def features(self, images: Tensor) -> Tensor:
        """Images [N, C, H, W] in [-1, 1] -> the inputs of the last layer [N, features]."""
        x = self.stem(images)
        for stage in self.stages:
            x = stage(x)
        return functional.relu(self.norm(x)).mean((2, 3))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images [N, C, H, W] in [-1, 1] -> logits [N, classes], features [N, features]."""
        features = self.features(images)
        return self.logits(features), features
