"""Correctness of a sampler on a GPU: compared with the bundle's golden vectors, and with the CPU backend."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop import Sampler
from latentloop.bench.gpu.check.findings import Findings
from latentloop.bench.workload.level_runs import forcing
from latentloop.bundles.manifest import Level
from latentloop.draws.level_inputs import LevelInputs
from latentloop.draws.uniforms import uniforms
from latentloop.errors import LatentLoopError
from latentloop.sampling.sampler import runs_of
from latentloop.sampling.verification import DECODED_BOUND, DRAW_BOUND, LOGITS_BOUND, verify

IMAGES = 4
SEED = 100


def check_sampler(findings: Findings, sampler: Sampler, **values: Any) -> None:
    """Checks the golden vectors, and the CPU backend if ONNX Runtime works; ``values`` are part of every finding."""
    check_golden(findings, sampler, **values)
    try:
        reference = Sampler(sampler.bundle, device="cpu")
    except (ImportError, LatentLoopError) as error:
        findings.missing("the CPU backend, to compare with", str(error))
        return
    check_against(findings, sampler, reference, **values)


def check_golden(findings: Findings, sampler: Sampler, **values: Any) -> None:
    """Checks the bundle's golden vectors; ``values`` are part of every finding."""
    for check in verify(sampler):
        if check.skipped:
            continue
        numbers = {"error": check.error, "bound": check.bound}
        findings.check(check.name, check.passed, against="golden vectors", **numbers, **values)


def check_against(findings: Findings, sampler: Sampler, reference: Sampler, **values: Any) -> None:
    """Compares all logits, sampled codes and decoded images of a float32 sampler with a reference."""
    classes = sampler.bundle.manifest.classes
    labels = [index % len(classes) for index in range(IMAGES)] if classes else None
    expected = reference.sample(IMAGES, labels=labels, seeds=SEED)
    against = {"against": reference.device, **values}
    for index, level in enumerate(sampler.bundle.manifest.levels):
        if level.prior is None:
            continue
        inputs = forcing(expected.codes, index, expected.labels)
        logits, actual = _logits(reference, level, inputs), _logits(sampler, level, inputs)
        error = float(np.abs(actual - logits).max() / max(1.0, float(np.abs(logits).max())))
        findings.check(
            f"{level.name}: logits, of max(1, max |logit|)",
            error <= LOGITS_BOUND,
            error=error,
            bound=LOGITS_BOUND,
            **against,
        )
        others = {name: codes for name, codes in expected.codes.items() if name != level.name}
        drawn = sampler.sample(IMAGES, labels=labels, seeds=SEED, given=others).codes[level.name]
        u = uniforms(np.arange(SEED, SEED + IMAGES, dtype=np.uint64), index, level.height, level.width)
        wrong = wrong_draws(drawn, expected.codes[level.name], logits.transpose(2, 0, 1, 3), u.transpose(2, 0, 1))
        findings.check(f"{level.name}: sampled codes that differ", wrong == 0, error=wrong, bound=0, **against)
    error = float(
        np.abs(runs_of(sampler).unrounded(expected.codes) - runs_of(reference).unrounded(expected.codes)).max()
    )
    findings.check("decode: pixels, of [-1, 1]", error <= DECODED_BOUND, error=error, bound=DECODED_BOUND, **against)


def wrong_draws(
    drawn: NDArray[np.int64], expected: NDArray[np.int64], logits: NDArray[np.float64], u: NDArray[Any]
) -> int:
    """Returns the number of images of codes [N, H, W] whose first difference is not due to rounding.

    It is due to rounding if u [N, H, W] is, within rounding, at a boundary of the cumulative probabilities of the
    logits [N, H, W, K]. Codes after the first difference are not compared, because they depend on it.
    """
    wrong = 0
    for image, right, scores, random in zip(drawn, expected, logits, u, strict=True):
        differences = np.flatnonzero(image != right)
        if not len(differences):
            continue
        i, j = divmod(int(differences[0]), image.shape[1])
        mass = np.exp(scores[i, j] - scores[i, j].max())
        boundaries = mass.cumsum() / mass.sum()
        low, high = sorted((int(image[i, j]), int(right[i, j])))
        neighbours = high == low + 1 or float(mass[low + 1 : high].sum() / mass.sum()) <= DRAW_BOUND
        wrong += not (neighbours and abs(float(random[i, j]) - boundaries[low]) <= DRAW_BOUND)
    return wrong


def _logits(sampler: Sampler, level: Level, inputs: LevelInputs) -> NDArray[np.float64]:
    """Returns logits [H, W, B, K]."""
    return np.stack([row.logits.astype(np.float64) for row in runs_of(sampler).rows(level, inputs)])
