"""A validated request for samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latentloop.backends.bundle_errors import memory_errors
from latentloop.bundles.manifest import Manifest
from latentloop.draws.draw_settings import DrawSettings
from latentloop.draws.level_inputs import Codes, LevelDraw, LevelInputs
from latentloop.draws.uniforms import uniforms
from latentloop.errors import InputError
from latentloop.sampling.validation import (
    Setting,
    check_count,
    check_filters,
    check_given,
    check_labels,
    check_prior,
    check_seeds,
    check_settings,
    distinct,
)

MAX_SAMPLES = 2**20  # of one call: their images and codes are in memory at once
MAX_STREAMED = 2**28  # of one stream: their seeds and labels are, 16 bytes a sample


@dataclass(frozen=True, eq=False)
class SampleRequest:
    """What to sample from a bundle: ``labels`` int64 [n], or None for a bundle without classes; ``seeds`` uint64 [n];
    ``settings`` by level; and ``given`` codes by level, int64 [n, H, W], -1 for a code to draw. Settings and codes that
    are the same for all samples are in memory once (``np.broadcast_to``).
    """

    manifest: Manifest
    labels: NDArray[np.int64] | None
    seeds: NDArray[np.uint64]
    settings: dict[str, DrawSettings]
    given: dict[str, Codes]

    @staticmethod
    @memory_errors()
    def validated(
        manifest: Manifest,
        n: int,
        *,
        labels: ArrayLike | None = None,
        seeds: ArrayLike | None = None,
        given: Mapping[str, ArrayLike] | None = None,
        settings: Mapping[str, Setting],
        largest: int = MAX_SAMPLES,
    ) -> SampleRequest:
        """Returns the arguments of ``Sampler.sample``, checked against the bundle; n is at most ``largest``.

        Raises InputError.
        """
        n = check_count("n", n, largest)
        levels = manifest.levels
        request = SampleRequest(
            manifest,
            labels=check_labels(labels, n, manifest),
            seeds=check_seeds(seeds, n),
            settings=check_settings(settings, n, levels),
            given=check_given(given, n, levels),
        )
        if (
            labels is None
            and manifest.classes
            and any((distinct(codes) >= 0).any() for codes in request.given.values())
        ):
            raise InputError(
                "codes are given without labels, and the classes in turn may not be those of their images: pass "
                f"labels, one of the {len(manifest.classes)} classes for all or one per sample; Sampler.classify can "
                "find them"
            )
        for level in levels:
            if level.name in request.drawn_levels:
                check_prior(level)
                check_filters(request.settings[level.name], level)
        return request

    @property
    def n(self) -> int:
        """The number of samples."""
        return len(self.seeds)

    @cached_property
    def drawn_levels(self) -> list[str]:
        """The levels that are drawn, at least in part, from the top down."""
        return [level.name for level in self.manifest.levels if (distinct(self.given[level.name]) < 0).any()]

    def repeated(self, indices: NDArray[np.int64], seeds: NDArray[np.uint64]) -> SampleRequest:
        """Returns a request whose sample i is like number ``indices[i]`` of this one, with the seed ``seeds[i]``."""
        return replace(
            self,
            labels=None if self.labels is None else self.labels[indices],
            seeds=seeds,
            settings={level: settings.take(indices) for level, settings in self.settings.items()},
            given={level: _take(codes, indices) for level, codes in self.given.items()},
        )

    def take(self, part: slice) -> SampleRequest:
        """Returns the request for these samples alone."""
        return replace(
            self,
            labels=None if self.labels is None else self.labels[part],
            seeds=self.seeds[part],
            settings={
                level: DrawSettings({name: values[part] for name, values in settings.values.items()})
                for level, settings in self.settings.items()
            },
            given={level: codes[part] for level, codes in self.given.items()},
        )

    def draws(self, indices: NDArray[np.int64]) -> list[LevelDraw]:
        """Returns a backend's inputs for these samples [B], one per level from the top down."""
        return [self._draw(number, indices) for number in range(len(self.manifest.levels))]

    def _draw(self, number: int, indices: NDArray[np.int64]) -> LevelDraw:
        level = self.manifest.levels[number]
        codes = self.given[level.name][indices]
        if (codes >= 0).all():
            return LevelDraw(level.name, codes)
        level_inputs = LevelInputs(
            uniform=uniforms(self.seeds[indices], number, level.height, level.width),
            forced=codes.transpose(1, 2, 0),
            settings=self.settings[level.name].take(indices).arrays(level.codebook_size),
            labels=None if self.labels is None else self.labels[indices],
        )
        return LevelDraw(level.name, level_inputs)


def _take(codes: Codes, indices: NDArray[np.int64]) -> Codes:
    """Returns ``codes[indices]``, in memory once if all are the same memory."""
    different = distinct(codes)
    if len(different) == len(codes):
        return codes[indices]
    return np.broadcast_to(different, (len(indices), *codes.shape[1:]))
