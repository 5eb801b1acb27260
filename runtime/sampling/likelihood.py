"""The logits of codes under a bundle's priors, and the codes' log-probability."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latentloop.backends.bundle_errors import logits_error, memory_errors
from latentloop.bundles.manifest import Level
from latentloop.draws.level_inputs import Codes, LevelInputs, Row
from latentloop.errors import InputError
from latentloop.sampling.batches import padded_batches
from latentloop.sampling.runs import Runs
from latentloop.sampling.validation import check_codes, check_labels, check_prior


@memory_errors()
def log_likelihood(
    runs: Runs, codes: Mapping[str, ArrayLike], labels: ArrayLike | None
) -> dict[str, NDArray[np.float64]]:
    """Returns the log-probability of every code given the ones before it; see ``Sampler.log_likelihood``."""
    checked, classes = _check(runs, codes, labels)
    return likelihood_of_levels(runs, checked, classes, runs.bundle.manifest.levels)


@memory_errors()
def likelihood_of_levels(
    runs: Runs, codes: dict[str, Codes], labels: Codes | None, levels: Sequence[Level]
) -> dict[str, NDArray[np.float64]]:
    """Like ``log_likelihood``, of some levels only: those that have a prior, and do not depend on classes without
    ``labels``. The arguments are checked: codes of all levels [N, h, w], labels [N].
    """
    result = {level.name: np.empty(codes[level.name].shape) for level in levels}
    for level, part, row in _forced_rows(runs, codes, labels, levels):
        log_probabilities = log_softmax(row.logits.astype(np.float64))
        picked = np.take_along_axis(log_probabilities, row.codes[..., None], 2)[..., 0]  # [W, B]
        result[level.name][part, row.index] = picked.T[: part.stop - part.start]
    return result


@memory_errors()
def logits(runs: Runs, codes: Mapping[str, ArrayLike], labels: ArrayLike | None) -> dict[str, NDArray[np.float32]]:
    """Returns the logits of every code given the ones before it; see ``Sampler.logits``."""
    checked, classes = _check(runs, codes, labels)
    sizes = {level.name: level.codebook_size for level in runs.bundle.manifest.levels}
    result = {name: np.empty((*values.shape, sizes[name]), np.float32) for name, values in checked.items()}
    for level, part, row in _forced_rows(runs, checked, classes, runs.bundle.manifest.levels):
        result[level.name][part, row.index] = row.logits.transpose(1, 0, 2)[: part.stop - part.start]
    return result


def _check(
    runs: Runs, codes: Mapping[str, ArrayLike], labels: ArrayLike | None
) -> tuple[dict[str, Codes], Codes | None]:
    """Returns codes by level [N, h, w], and labels [N] if the bundle has classes. Raises InputError."""
    manifest = runs.bundle.manifest
    checked = check_codes(codes, manifest.levels, partial=False)
    n = len(next(iter(checked.values())))
    if labels is None and manifest.classes:
        raise InputError("labels are missing: the likelihood of codes depends on their class")
    if n == 0:
        return checked, None
    for level in manifest.levels:
        check_prior(level)
    return checked, check_labels(labels, n, manifest)


def _forced_rows(
    runs: Runs, codes: dict[str, Codes], labels: Codes | None, levels: Sequence[Level]
) -> Iterator[tuple[Level, slice, Row]]:
    """Runs ``levels`` over their codes, in batches of equal size, the last one padded. Yields the level, the batch's
    slice of the N samples, and each row. Raises BundleError for logits that are not finite.
    """
    n = len(next(iter(codes.values())))
    batch = min(max(n, 1), runs.default_batch_size)
    runs.check_state([level.name for level in levels], batch)
    for part, indices in padded_batches(n, batch):
        upper = None
        for level in runs.bundle.manifest.levels:
            forced = codes[level.name][indices]
            if level in levels:
                level_inputs = LevelInputs.forcing(forced, upper, None if labels is None else labels[indices])
                for row in runs.rows(level, level_inputs):
                    if not np.isfinite(row.logits).all():
                        raise logits_error(runs.bundle.path, level)
                    yield level, part, row
            upper = forced


def log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the log-probabilities, in nats, of logits [..., K]."""
    shifted = logits - logits.max(-1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return result
