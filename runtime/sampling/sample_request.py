"""A validated request for samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latentloop.bundles.manifest import Manifest
from latentloop.draws.level_inputs import Codes, LevelDraw, LevelInputs
from latentloop.draws.uniforms import uniforms
from latentloop.sampling.validation import (
    MIN_TEMPERATURE,
    Setting,
    check_count,
    check_given,
    check_labels,
    check_prior,
    check_seeds,
    check_settings,
)

MAX_SAMPLES = 2**20  # of one call: their images and codes are in memory at once


@dataclass(frozen=True)
class SampleRequest:
    """The arguments of ``Sampler.sample``, normalised: ``labels`` [n] or None for a bundle without classes, ``seeds``
    uint64 [n], ``settings`` by name and level [n], and ``given`` codes by level [n, H, W], -1 for a code to draw.
    """

    manifest: Manifest
    n: int
    labels: NDArray[np.int64] | None
    seeds: NDArray[np.uint64]
    settings: dict[str, dict[str, NDArray[np.float64]]]
    given: dict[str, Codes]

    @staticmethod
    def validated(
        manifest: Manifest,
        n: int,
        labels: ArrayLike | None,
        seeds: ArrayLike | None,
        temperature: Setting,
        top_k: Setting,
        top_p: Setting,
        given: Mapping[str, ArrayLike] | None,
    ) -> SampleRequest:
        """Returns the arguments of ``Sampler.sample``, checked against the bundle. Raises InputError."""
        n = check_count("n", n, MAX_SAMPLES)
        levels = manifest.levels
        classes = check_labels(labels, n, manifest)
        checked_seeds = check_seeds(seeds, n)
        settings = check_settings(temperature, top_k, top_p, n, levels)
        codes = check_given(given, n, levels)
        for level in levels:
            if (codes[level.name] < 0).any():
                check_prior(level)
        return SampleRequest(manifest, n, classes, checked_seeds, settings, codes)

    def draws(self, indices: NDArray[np.int64]) -> list[LevelDraw]:
        """Returns a backend's inputs for these samples [B], one per level from the top down."""
        return [self._draw(number, indices) for number in range(len(self.manifest.levels))]

    def _draw(self, number: int, indices: NDArray[np.int64]) -> LevelDraw:
        level = self.manifest.levels[number]
        codes = self.given[level.name][indices]
        if (codes >= 0).all():
            return LevelDraw(level.name, codes)
        temperature, top_k, top_p = (
            self.settings[name][level.name][indices] for name in ("temperature", "top_k", "top_p")
        )
        filtered = bool((top_k < level.codebook_size).any() or (top_p < 1).any())
        level_inputs = LevelInputs(
            uniform=uniforms(self.seeds[indices], number, level.height, level.width),
            forced=codes.transpose(1, 2, 0),
            temperature=np.maximum(temperature, MIN_TEMPERATURE).astype(np.float32),
            top_k=np.minimum(top_k, level.codebook_size).astype(np.int64) if filtered else None,
            top_p=top_p.astype(np.float32) if filtered else None,
            labels=None if self.labels is None else self.labels[indices],
        )
        return LevelDraw(level.name, level_inputs)
