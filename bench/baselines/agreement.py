"""The check that all implementations compute the same model: another model's speed would mean nothing."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from latentloop.bench.baselines.implementation import Implementation, Inputs
from latentloop.bench.workload.part import Part
from latentloop.errors import LatentLoopError

AGREEMENT = 1e-3  # largest difference of float32 logits, as a share of their standard deviation
ROWS = 2  # that are compared


def logit_differences(implementations: Iterable[Implementation], part: Part) -> dict[str, float]:
    """Returns, by title, the largest difference to the first implementation's logits, in their standard deviations.

    Raises LatentLoopError if a float32 implementation differs by more than ``AGREEMENT``.
    """
    differences: dict[str, float] = {}
    for level in part.levels:
        inputs = Inputs.random(level.config, 1)
        expected = None
        for implementation in implementations:
            logits = implementation.logits(level, inputs, min(ROWS, level.config.height))
            if expected is None:
                expected = logits
            difference = float(np.abs(logits - expected).max() / expected.std())
            title = implementation.title
            differences[title] = max(difference, differences.get(title, 0.0))
            if not difference <= AGREEMENT and "int8" not in title:
                raise LatentLoopError(
                    f"{title}: logits of {level.name} differ by {difference:.2g} standard deviations, expected at "
                    f"most {AGREEMENT}: it does not compute the same model, so it was not timed"
                )
    return differences
