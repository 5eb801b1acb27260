"""Rejection sampling (VQ-VAE-2, section 3.3): draws more samples than requested and keeps those for which a classifier
gives the highest probability to the label. This increases fidelity and decreases diversity.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latentloop.errors import InputError, short_repr
from latentloop.sampling import validation
from latentloop.sampling.classifier import classifier_file
from latentloop.sampling.host_arrays import as_array, to_python
from latentloop.sampling.results import Progress, Samples
from latentloop.sampling.sample_request import MAX_SAMPLES
from latentloop.sampling.sampler import Sampler

Setting = float | Mapping[str, float] | None


@dataclass(frozen=True)
class Selection:
    """The kept samples, the probability of each one's label, float32 [N], and the number of candidates."""

    samples: Samples
    confidence: NDArray[np.float32]
    candidates: int


def sample_best(
    sampler: Sampler,
    n: int = 1,
    *,
    keep: float,
    labels: ArrayLike | None = None,
    seed: ArrayLike | None = None,
    temperature: Setting = None,
    top_k: Setting = None,
    top_p: Setting = None,
    batch_size: int | None = None,
    callback: Callable[[Progress], bool | None] | None = None,
) -> Selection:
    """Draws candidates, and keeps for each label the fraction ``keep``, in (0, 1], with the highest probability of that
    label by the bundle's classifier.

    The n labels are those of ``Sampler.sample``; a label requested m times gets ceil(m / keep) candidates. Candidates
    have consecutive seeds from ``seed`` (default: a fresh one) on, and cycle through the requested labels. The kept
    samples of a label are in the order of their seeds, so ``keep=1`` returns the result of ``sample``. ``sample`` with
    a kept sample's seed and label, the same settings and ``batch_size`` (default: all candidates, at most
    ``default_batch``) draws it again.

    temperature, top_k, top_p: as in ``sample``, but one value for all samples. ``callback`` gets progress in terms of
    candidates. A cancelled run chooses among the finished candidates, and may return fewer samples than requested.

    Raises InputError for arguments that do not fit the bundle, and if the bundle has no classes or no classifier.
    """
    # 1. Validate.
    requested = _check_labels(sampler, validation.check_count("n", n, MAX_SAMPLES), labels)
    drawn_labels = candidate_labels(requested, _check_fraction(keep))
    for name, setting in (("temperature", temperature), ("top_k", top_k), ("top_p", top_p)):
        for value in setting.values() if isinstance(setting, Mapping) else [setting]:
            if value is not None and as_array(name, value).ndim:
                raise InputError(f"{name} is {short_repr(value)}, expected one number for all samples")
    first_seed = secrets.randbits(32) if seed is None else to_python("seed", seed, "an integer")
    if isinstance(first_seed, bool) or not isinstance(first_seed, int):
        raise InputError(f"seed is {short_repr(seed)}, expected the first candidate's, an integer")
    # 2. Draw the candidates.
    drawn = sampler.sample(
        len(drawn_labels),
        labels=drawn_labels,
        seeds=first_seed,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        batch_size=batch_size,
        callback=callback,
    )
    # 3. Keep the best.
    done = len(drawn.images)
    probabilities = sampler.classify(drawn.images).probabilities
    confidence = probabilities[np.arange(done), drawn_labels[:done]]
    best = choose(requested, drawn_labels[:done], confidence)
    samples = replace(
        drawn,
        images=drawn.images[best],
        codes={name: codes[best] for name, codes in drawn.codes.items()},
        seeds=drawn.seeds[best],
        labels=drawn_labels[best],
    )
    return Selection(samples, confidence[best], done)


def candidate_labels(requested: NDArray[np.int64], keep: Fraction) -> NDArray[np.int64]:
    """Returns the labels of the candidates, int64: cycles through ``requested`` [n] and drops a label when it has
    enough candidates.

    Raises InputError if there would be too many candidates.
    """
    labels, counts = np.unique(requested, return_counts=True)
    needed = {int(label): math.ceil(int(count) / keep) for label, count in zip(labels, counts, strict=True)}
    if sum(needed.values()) > MAX_SAMPLES:
        raise InputError(
            f"the fraction to keep is {float(keep):g}, which needs more than {MAX_SAMPLES} candidates: use a larger"
            " fraction, or fewer images"
        )
    repeated = np.tile(requested, math.ceil(1 / keep))
    selected = np.zeros(len(repeated), bool)
    for label, count in needed.items():
        selected[np.flatnonzero(repeated == label)[:count]] = True
    return repeated[selected]


def choose(
    requested: NDArray[np.int64], labels: NDArray[np.int64], confidence: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Returns the indices of the candidates to keep, in the order of the ``requested`` labels [n].

    For each label these are the candidates with the highest ``confidence``, the earlier one of equals. A label with
    too few candidates gets fewer indices. ``labels`` and ``confidence`` are those of the candidates.
    """
    chosen = np.full(len(requested), -1)
    for label in np.unique(requested):
        positions, candidates = np.flatnonzero(requested == label), np.flatnonzero(labels == label)
        best = candidates[np.argsort(-confidence[candidates], kind="stable")[: len(positions)]]
        chosen[positions[: len(best)]] = np.sort(best)
    return chosen[chosen >= 0]


def _check_labels(sampler: Sampler, n: int, labels: Any) -> NDArray[np.int64]:
    if not sampler.bundle.manifest.classes:
        raise InputError(f"{sampler.bundle.path} has no classes, so a classifier cannot compare samples")
    classifier_file(sampler.bundle)
    checked = validation.check_labels(labels, n, sampler.bundle.manifest)
    assert checked is not None  # there are classes
    return checked


def _check_fraction(keep: object) -> Fraction:
    """Returns the fraction exactly as it is written, so that 3 / 0.3 is 10 and not slightly more."""
    if isinstance(keep, bool) or not isinstance(keep, int | float | np.integer | np.floating) or not 0 < keep <= 1:
        raise InputError(f"keep is {short_repr(keep)}, expected a fraction over 0, at most 1")
    return Fraction(str(keep))
