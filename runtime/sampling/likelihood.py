"""The log-probability of codes under a bundle's priors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latentloop.backends.bundle_errors import logits_error
from latentloop.bundles.bundle import Bundle
from latentloop.bundles.manifest import Level
from latentloop.draws.level_inputs import LevelInputs, Row
from latentloop.errors import InputError
from latentloop.sampling.batches import padded_batches
from latentloop.sampling.validation import check_codes, check_labels, check_prior

Rows = Callable[[Level, LevelInputs], Iterator[Row]]  # runs one level's loop


def log_likelihood(
    bundle: Bundle, rows: Rows, batch_size: int, codes: Mapping[str, ArrayLike], labels: ArrayLike | None
) -> dict[str, NDArray[np.float64]]:
    """Returns the log-probability of every code given the ones before it; see ``Sampler.log_likelihood``.

    ``rows`` runs a level for up to ``batch_size`` samples.
    """
    # 1. Validate.
    levels = bundle.manifest.levels
    checked = check_codes(codes, levels, partial=False)
    n = len(next(iter(checked.values())))
    if labels is None and bundle.manifest.classes:
        raise InputError("labels are missing: the likelihood of codes depends on their class")
    result = {level.name: np.empty((n, level.height, level.width)) for level in levels}
    if n == 0:
        return result
    for level in levels:
        check_prior(level)
    classes = check_labels(labels, n, bundle.manifest)
    # 2. Run each level over the codes, in batches of equal size; the last batch is padded with the last sample.
    for part, indices in padded_batches(n, min(n, batch_size)):
        upper = None
        for level in levels:
            forced = checked[level.name][indices]
            level_inputs = LevelInputs.forcing(forced, upper, None if classes is None else classes[indices])
            # 3. Pick the log-probability of each code from its row's logits.
            for row in rows(level, level_inputs):
                if not np.isfinite(row.logits).all():
                    raise logits_error(bundle.path, level)
                log_probabilities = log_softmax(row.logits.astype(np.float64))
                picked = np.take_along_axis(log_probabilities, row.codes[..., None], 2)[..., 0]  # [W, B]
                result[level.name][part, row.index] = picked.T[: part.stop - part.start]
            upper = forced
    return result


def log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the log-probabilities, in nats, of logits [..., K]."""
    shifted = logits - logits.max(-1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return result
