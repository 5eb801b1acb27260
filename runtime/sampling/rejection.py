"""Rejection sampling (VQ-VAE-2, section 3.3): of more samples than asked for, those whose label a classifier is surest
of. It buys fidelity with diversity.
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
from latentloop.sampling.host_arrays import as_array, plain
from latentloop.sampling.results import Progress, Samples
from latentloop.sampling.sample_request import MOST_SAMPLES
from latentloop.sampling.sampler import Sampler

Setting = float | Mapping[str, float] | None


@dataclass(frozen=True)
class Selection:
    """The samples kept, the probability of each one's label, float32 [N], and how many candidates there were."""

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
    """Draws candidates, and keeps of each label the fraction ``keep``, in (0, 1], that the classifier is surest of.

    The n labels are those of ``Sampler.sample``; a label asked for m times gets ceil(m / keep) candidates. Candidates
    have consecutive seeds from ``seed`` (default: a fresh one) on, the request's labels in turn. What is kept of a
    label stays in the order of its seeds, so ``keep=1`` gives what ``sample`` gives. ``sample`` with a kept sample's
    seed and label, the same settings and ``batch_size`` (default: all candidates, at most ``default_batch``) draws it
    again.

    temperature, top_k, top_p: as in ``sample``, but one for all samples; ``callback`` counts candidates. A cancelled
    run chooses among the candidates it has finished, and may return fewer samples than asked for.

    Raises InputError for arguments that do not fit the bundle, or one without classes or a classifier.
    """
    asked = _check_labels(sampler, validation.check_count("n", n, MOST_SAMPLES), labels)
    drawn_labels = candidate_labels(asked, _check_fraction(keep))
    for name, setting in (("temperature", temperature), ("top_k", top_k), ("top_p", top_p)):
        for value in setting.values() if isinstance(setting, Mapping) else [setting]:
            if value is not None and as_array(name, value).ndim:
                raise InputError(f"{name} is {short_repr(value)}, expected one number for all samples")
    first = secrets.randbits(32) if seed is None else plain("seed", seed, "an integer")
    if isinstance(first, bool) or not isinstance(first, int):
        raise InputError(f"seed is {short_repr(seed)}, expected the first candidate's, an integer")
    drawn = sampler.sample(
        len(drawn_labels),
        labels=drawn_labels,
        seeds=first,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        batch_size=batch_size,
        callback=callback,
    )
    done = len(drawn.images)
    found = sampler.classify(drawn.images).probabilities
    confidence = found[np.arange(done), drawn_labels[:done]]
    kept = choose(asked, drawn_labels[:done], confidence)
    samples = replace(
        drawn,
        images=drawn.images[kept],
        codes={name: codes[kept] for name, codes in drawn.codes.items()},
        seeds=drawn.seeds[kept],
        labels=drawn_labels[kept],
    )
    return Selection(samples, confidence[kept], done)


def candidate_labels(asked: NDArray[np.int64], keep: Fraction) -> NDArray[np.int64]:
    """The labels of the candidates, int64: ``asked`` [n] over and over, until each label has as many as it needs.

    Raises InputError where these are too many.
    """
    values, counts = np.unique(asked, return_counts=True)
    needed = {int(value): math.ceil(int(count) / keep) for value, count in zip(values, counts, strict=True)}
    if sum(needed.values()) > MOST_SAMPLES:
        raise InputError(
            f"the fraction to keep is {float(keep):g}, which takes more than {MOST_SAMPLES} candidates: ask for a"
            " larger fraction, or for fewer images"
        )
    repeated = np.tile(asked, math.ceil(1 / keep))
    taken = np.zeros(len(repeated), bool)
    for value, count in needed.items():
        taken[np.flatnonzero(repeated == value)[:count]] = True
    return repeated[taken]


def choose(asked: NDArray[np.int64], labels: NDArray[np.int64], confidence: NDArray[np.float32]) -> NDArray[np.int64]:
    """Indices of the candidates that are kept, in the order of the labels ``asked`` [n] for.

    Of every label the candidates with the most ``confidence``, of equally sure ones the earlier; fewer than asked for
    where there are fewer. ``labels`` and ``confidence`` are the candidates'.
    """
    chosen = np.full(len(asked), -1)
    for value in np.unique(asked):
        places, there = np.flatnonzero(asked == value), np.flatnonzero(labels == value)
        best = there[np.argsort(-confidence[there], kind="stable")[: len(places)]]
        chosen[places[: len(best)]] = np.sort(best)
    return chosen[chosen >= 0]


def _check_labels(sampler: Sampler, n: int, labels: Any) -> NDArray[np.int64]:
    if not sampler.bundle.manifest.classes:
        raise InputError(f"{sampler.bundle.path} has no classes, so no label that a classifier could be sure of")
    classifier_file(sampler.bundle)
    checked = validation.check_labels(labels, n, sampler.bundle.manifest)
    assert checked is not None  # there are classes
    return checked


def _check_fraction(keep: object) -> Fraction:
    """Exact, as it is written: 3 / 0.3 is 10, not a little more."""
    if isinstance(keep, bool) or not isinstance(keep, int | float | np.integer | np.floating) or not 0 < keep <= 1:
        raise InputError(f"keep is {short_repr(keep)}, expected a fraction over 0, at most 1")
    return Fraction(str(keep))
