"""Whether a sampler on a GPU computes what its bundle says: golden vectors, and the CPU where that can run too."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.bench.gpu.check.part import Findings
from latentloop.bundles.manifest import Level
from latentloop.draws.level_inputs import LevelInputs
from latentloop.draws.uniforms import uniforms
from latentloop.sampling.sampler import Sampler
from latentloop.sampling.verification import DECODED_BOUND, DRAW_BOUND, LOGITS_BOUND, verify

Codes = dict[str, NDArray[np.int64]]

IMAGES = 4
SEED = 100


def check_golden(findings: Findings, sampler: Sampler, **values: Any) -> None:
    """The bundle's own vectors; ``values`` go into every finding."""
    for check in verify(sampler):
        if check.skipped:
            continue
        numbers = {"error": check.error, "bound": check.bound}
        findings.check(check.name, check.passed, against="golden vectors", **numbers, **values)


def check_against(findings: Findings, sampler: Sampler, reference: Sampler, **values: Any) -> None:
    """Every logit of whole images, every code drawn, and the images that codes decode to, in float32."""
    labels = None if not sampler.bundle.manifest.classes else list(range(IMAGES))
    labels = None if labels is None else [label % len(sampler.bundle.manifest.classes) for label in labels]
    expected = reference.sample(IMAGES, labels=labels, seeds=SEED)
    against = {"against": reference.device, **values}
    for index, level in enumerate(sampler.bundle.manifest.levels):
        if level.prior is None:
            continue
        forced = _forced(level, index, expected.codes, expected.labels)
        logits, found = _logits(reference, level, forced), _logits(sampler, level, forced)
        error = float(np.abs(found - logits).max() / max(1.0, float(np.abs(logits).max())))
        findings.check(
            f"{level.name}: logits, of max(1, max |logit|)",
            error <= LOGITS_BOUND,
            error=error,
            bound=LOGITS_BOUND,
            **against,
        )
        given = {name: codes for name, codes in expected.codes.items() if name != level.name}
        drawn = sampler.sample(IMAGES, labels=labels, seeds=SEED, given=given).codes[level.name]
        u = uniforms(np.arange(SEED, SEED + IMAGES, dtype=np.uint64), index, level.height, level.width)
        wrong = wrong_draws(drawn, expected.codes[level.name], logits.transpose(2, 0, 1, 3), u.transpose(2, 0, 1))
        findings.check(f"{level.name}: sampled codes that differ", wrong == 0, error=wrong, bound=0, **against)
    error = float(np.abs(sampler.decoded(expected.codes) - reference.decoded(expected.codes)).max())
    findings.check("decode: pixels, of [-1, 1]", error <= DECODED_BOUND, error=error, bound=DECODED_BOUND, **against)


def wrong_draws(
    found: NDArray[np.int64], expected: NDArray[np.int64], logits: NDArray[np.float64], u: NDArray[Any]
) -> int:
    """Images of [N, H, W] whose first differing code is not excused.

    u [N, H, W] must lie at an edge of the cumulative mass of the logits [N, H, W, K] there, within rounding. What
    follows such a code may differ.
    """
    wrong = 0
    for image, right, scores, random in zip(found, expected, logits, u, strict=True):
        places = np.flatnonzero(image != right)
        if not len(places):
            continue
        i, j = divmod(int(places[0]), image.shape[1])
        mass = np.exp(scores[i, j] - scores[i, j].max())
        edges = mass.cumsum() / mass.sum()
        low, high = sorted((int(image[i, j]), int(right[i, j])))
        neighbours = high == low + 1 or float(mass[low + 1 : high].sum() / mass.sum()) <= DRAW_BOUND
        wrong += not (neighbours and abs(float(random[i, j]) - edges[low]) <= DRAW_BOUND)
    return wrong


def _forced(level: Level, index: int, codes: Codes, labels: NDArray[np.int64] | None) -> LevelInputs:
    above = list(codes.values())[index - 1] if index else None
    return LevelInputs.forcing(codes[level.name], above, labels)


def _logits(sampler: Sampler, level: Level, level_inputs: LevelInputs) -> NDArray[np.float64]:
    """[H, W, B, K]."""
    return np.stack([row.logits.astype(np.float64) for row in sampler.rows(level, level_inputs)])
