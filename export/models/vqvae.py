"""The hierarchical VQ-VAE: encoder, vector quantisation and decoder for N levels (VQ-VAE-2, section 3.1).

Levels count from the top (coarsest). Tensors are [N, C, H, W]; pixels x are scaled to x / 127.5 - 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from latentloop.export.configuration import VqvaeConfig


class ResidualBlock(nn.Module):
    """x + conv1x1(relu(conv3x3(relu(x)))); with ``inplace`` relu(x) + conv1x1(…)."""

    def __init__(self, channels: int, residual_channels: int, *, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace
        self.conv3 = nn.Conv2d(channels, residual_channels, 3, padding=1)
        self.conv1 = nn.Conv2d(residual_channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        active = functional.relu(x)
        out: Tensor = self.conv1(functional.relu(self.conv3(active)))
        return (active if self.inplace else x) + out


def residual_blocks(config: VqvaeConfig) -> nn.Sequential:
    """Returns the residual blocks of one encoder or decoder."""
    return nn.Sequential(
        *(
            ResidualBlock(config.channels, config.residual_channels, inplace=config.inplace)
            for _ in range(config.residual_layers)
        )
    )


class Encoder(nn.Module):
    """Strided 4 x 4 convolutions, a 3 x 3 convolution, residual blocks. ``stride``: a power of two."""

    def __init__(self, in_channels: int, config: VqvaeConfig, stride: int) -> None:
        super().__init__()
        downs = stride.bit_length() - 1
        widths = [in_channels, config.channels // 2, *[config.channels] * (downs - 1)]
        self.down = nn.ModuleList(nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairwise(widths))
        self.conv = nn.Conv2d(widths[-1], config.channels, 3, padding=1)
        self.residual = residual_blocks(config)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, channels, H / stride, W / stride]."""
        for down in self.down:
            x = functional.relu(down(x))
        return functional.relu(self.residual(self.conv(x)))


class Decoder(nn.Module):
    """A 3 x 3 convolution, residual blocks, transposed 4 x 4 convolutions. ``stride``: a power of two."""

    def __init__(self, in_channels: int, out_channels: int, config: VqvaeConfig, stride: int) -> None:
        super().__init__()
        ups = stride.bit_length() - 1
        inner = [*[config.channels] * (ups - 1), config.channels // 2] if ups > 1 else [config.channels]
        widths = [*inner, out_channels]
        self.conv = nn.Conv2d(in_channels, config.channels, 3, padding=1)
        self.residual = residual_blocks(config)
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 4, stride=2, padding=1) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, H * stride, W * stride]."""
        x = functional.relu(self.residual(self.conv(x)))
        for index, up in enumerate(self.up):
            x = up(functional.relu(x) if index else x)
        return x


def as_vectors(z: Tensor) -> Tensor:
    """[N, D, H, W] -> [N * H * W, D]."""
    return z.permute(0, 2, 3, 1).flatten(0, 2)


def nearest_codewords(vectors: Tensor, embedding: Tensor) -> Tensor:
    """Returns the nearest codeword of each vector, lowest index on ties: [M, D], [K, D] -> [M] int64."""
    return (embedding.square().sum(1) - 2 * vectors @ embedding.T).argmin(1)


class Codebook(nn.Module):
    """Nearest-codeword quantisation. Codewords are a buffer: they are trained by moving averages, not by gradients.

    ``usage`` [K] is each code's share of all codes, zeros if it is not known.
    """

    embedding: Tensor
    usage: Tensor

    def __init__(self, codebook_size: int, code_channels: int) -> None:
        super().__init__()
        self.register_buffer("embedding", torch.randn(codebook_size, code_channels))
        self.register_buffer("usage", torch.zeros(codebook_size))

    def nearest(self, z: Tensor) -> Tensor:
        """Returns the index of the nearest codeword by squared Euclidean distance, the lowest index on ties.

        z [N, D, H, W] float -> [N, H, W] int64.
        """
        n, _, height, width = z.shape
        return nearest_codewords(as_vectors(z), self.embedding).view(n, height, width)

    def lookup(self, codes: Tensor) -> Tensor:
        """Codes [N, H, W] int64 -> codewords [N, D, H, W]."""
        return functional.embedding(codes, self.embedding).permute(0, 3, 1, 2)

    def lookup_partial(self, codes: Tensor) -> Tensor:
        """Like ``lookup``, for codes of which some are not drawn, -1 or K: they have the mean codeword."""
        is_drawn = (codes >= 0) & (codes < len(self.embedding))
        codewords = self.lookup(codes.where(is_drawn, 0))
        return torch.where(is_drawn[:, None], codewords, self.mean()[:, None, None])

    def mean(self) -> Tensor:
        """Returns the mean codeword [D]: weighted by ``usage``, or of all codewords equally if it is not known."""
        is_known = (self.usage >= 0).all() & (self.usage.sum() > 0)
        usage = torch.where(is_known, self.usage, torch.ones_like(self.usage))
        return usage @ self.embedding / usage.sum()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        state_dict.setdefault(f"{prefix}usage", self.usage)  # state files of earlier releases lack it
        super()._load_from_state_dict(state_dict, prefix, *rest)


@dataclass
class Quantised:
    """One level of an encoded batch: z and codewords [N, D, H, W], codes [N, H, W]."""

    z: Tensor
    codes: Tensor
    codewords: Tensor


class Vqvae(nn.Module):
    """The VQ-VAE of all levels. ``encoders``, ``codebooks`` and the other lists are indexed by level, top first."""

    def __init__(self, config: VqvaeConfig) -> None:
        super().__init__()
        self.config = config
        width, levels = config.code_channels, config.levels
        below = range(levels - 1)  # every level but the bottom has one below it
        self.encoders = nn.ModuleList(Encoder(config.channels, config, stride=2) for _ in below)
        self.encoders.append(Encoder(config.image_channels, config, config.bottom_stride))
        self.to_code = nn.ModuleList([nn.Conv2d(config.channels, width, 1)])
        self.to_code.extend(nn.Conv2d(width + config.channels, width, 1) for _ in below)
        self.codebooks = nn.ModuleList(Codebook(config.codebook_size, width) for _ in range(levels))
        self.level_decoders = nn.ModuleList(Decoder(width, width, config, stride=2) for _ in below)
        self.upsamplers = nn.ModuleList(
            nn.Sequential(*(nn.ConvTranspose2d(width, width, 4, stride=2, padding=1) for _ in range(level, levels - 1)))
            for level in below
        )
        self.decoder = Decoder(width * levels, config.image_channels, config, config.bottom_stride)

    def features(self, images: Tensor) -> list[Tensor]:
        """Images [N, C, H, W] in [-1, 1] -> the encoder features of each level, top first."""
        x, features = images, []
        for encoder in reversed(self.encoders):
            x = encoder(x)
            features.append(x)
        return features[::-1]

    def project(self, level: int, feature: Tensor, upper: Tensor | None) -> Tensor:
        """Returns z [N, D, H, W] of one level, from its features and the codewords of the level above."""
        if upper is not None:
            feature = torch.cat([self.level_decoders[level - 1](upper), feature], 1)
        z: Tensor = self.to_code[level](feature)
        return z

    def quantise(self, images: Tensor) -> list[Quantised]:
        """Encodes: images [N, C, H, W] in [-1, 1] -> one Quantised per level, top first."""
        out: list[Quantised] = []
        for level, feature in enumerate(self.features(images)):
            z = self.project(level, feature, out[-1].codewords if out else None)
            codes = self.codebook(level).nearest(z)
            out.append(Quantised(z, codes, self.codebook(level).lookup(codes)))
        return out

    def decode_codewords(self, codewords: list[Tensor]) -> Tensor:
        """Codewords per level [N, D, H, W], top first -> images [N, C, H, W], nominally in [-1, 1]."""
        upsampled = [upsample(x) for upsample, x in zip(self.upsamplers, codewords[:-1], strict=True)]
        decoded: Tensor = self.decoder(torch.cat([*upsampled, codewords[-1]], 1))
        return decoded

    def decode(self, codes: list[Tensor]) -> Tensor:
        """Codes per level [N, H, W] int64, top first -> images [N, C, H, W], nominally in [-1, 1]. -1: not drawn."""
        return self.decode_codewords([self.codebook(level).lookup_partial(c) for level, c in enumerate(codes)])

    def codebook(self, level: int) -> Codebook:
        """Returns the codebook of a level, counted from the top."""
        codebook = self.codebooks[level]
        assert isinstance(codebook, Codebook)
        return codebook
