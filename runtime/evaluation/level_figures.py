"""What the codes of a level cost under its prior, and how the codebook is used."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentloop.bundles.manifest import Level
from latentloop.evaluation.code_use import code_counts, codes_used, perplexity
from latentloop.sampling.likelihood import likelihood_of_levels
from latentloop.sampling.sampler import Sampler, runs_of


@dataclass(frozen=True, eq=False)
class LevelEvaluation:
    """One level's codes of N images, each of ``height`` x ``width`` codes out of K.

    ``counts`` int64 [K]: how often each code occurs. ``bits`` float64 [N]: the negative log2-likelihood of each image's
    codes in this level; ``bits_by_position`` float64 [height, width]: of each code, the mean over the images. Both are
    None if the level has no prior, or if its prior depends on classes that are not known.
    """

    name: str
    height: int
    width: int
    counts: NDArray[np.int64]
    bits: NDArray[np.float64] | None
    bits_by_position: NDArray[np.float64] | None

    @property
    def codebook_size(self) -> int:
        """K."""
        return len(self.counts)

    @property
    def codes_used(self) -> int:
        """How many of the K codes occur."""
        return codes_used(self.counts)

    @property
    def perplexity(self) -> float:
        """How many codes, if all occurred equally often, would be as hard to predict by frequency alone: 1 to K."""
        return perplexity(self.counts)

    @property
    def bits_per_code(self) -> float | None:
        """The mean of the bits of a code; guessing needs log2 K."""
        return None if self.bits is None else float(self.bits.mean()) / (self.height * self.width)

    @property
    def bits_per_image(self) -> float | None:
        """The mean of the bits of an image's codes in this level."""
        return None if self.bits is None else float(self.bits.mean())


class LevelTotals:
    """Adds up the figures of all levels, a batch of images at a time. Without ``labels`` those of levels whose priors
    depend on classes are left out.
    """

    def __init__(self, sampler: Sampler, *, labels: bool) -> None:
        self._runs, self._levels = runs_of(sampler), sampler.bundle.manifest.levels
        self._counts = {level.name: np.zeros(level.codebook_size, np.int64) for level in self._levels}
        self.with_bits = [
            level for level in self._levels if level.prior is not None and (labels or not level.prior.classes)
        ]
        self._bits: dict[str, list[NDArray[np.float64]]] = {level.name: [] for level in self.with_bits}
        self._by_position = {level.name: np.zeros((level.height, level.width)) for level in self.with_bits}

    def add(self, codes: Mapping[str, NDArray[np.int64]], labels: NDArray[np.int64] | None) -> None:
        """Adds the codes by level [n, h, w] of n images, n at least 1, and their labels [n]. Both are checked."""
        for level in self._levels:
            self._counts[level.name] += code_counts(codes[level.name], level.codebook_size)
        for name, nats in likelihood_of_levels(self._runs, dict(codes), labels, self.with_bits).items():
            bits = nats / -math.log(2)
            self._bits[name].append(bits.sum((1, 2)))
            self._by_position[name] += bits.sum(0)

    def results(self) -> tuple[LevelEvaluation, ...]:
        """Returns the figures of the levels, from the top down, once images were added."""
        return tuple(map(self._result, self._levels))

    def _result(self, level: Level) -> LevelEvaluation:
        bits = np.concatenate(self._bits[level.name]) if level in self.with_bits else None
        by_position = None if bits is None else self._by_position[level.name] / len(bits)
        return LevelEvaluation(level.name, level.height, level.width, self._counts[level.name], bits, by_position)


def total_bits(levels: tuple[LevelEvaluation, ...]) -> NDArray[np.float64] | None:
    """Returns the bits of all codes of each image, float64 [N]; None if those of a level are not known."""
    bits = [level.bits for level in levels if level.bits is not None]
    return np.sum(bits, 0) if len(bits) == len(levels) else None
