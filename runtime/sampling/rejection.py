"""Rejection sampling (VQ-VAE-2, section 3.3): draws more samples than requested and keeps those for which a classifier
gives the highest probability to the label. This increases fidelity and decreases diversity.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latentloop.bundles.bundle import Bundle
from latentloop.errors import InputError, short_repr
from latentloop.sampling.classifier import BATCH, classifier_file
from latentloop.sampling.host_arrays import as_array, to_python
from latentloop.sampling.results import Callback, Samples, joined
from latentloop.sampling.sample_request import MAX_SAMPLES, SampleRequest
from latentloop.sampling.sampler import Sampler, check_sampler, runs_of
from latentloop.sampling.validation import Setting, check_seeds


@dataclass(frozen=True, eq=False)
class Selection:
    """The kept samples, the probability of each one's label, float32 [N], and the number of candidates."""

    samples: Samples
    confidence: NDArray[np.float32]
    candidates: int

    def __repr__(self) -> str:
        return f"<Selection: {len(self.confidence)} of {self.candidates} candidates, {self.samples}>"


def sample_best(
    sampler: Sampler,
    n: int = 1,
    *,
    keep: float,
    labels: ArrayLike | None = None,
    seeds: ArrayLike | None = None,
    batch_size: int | None = None,
    callback: Callback | None = None,
    **settings: Setting,
) -> Selection:
    """Draws candidates, and keeps for each label the fraction ``keep``, in (0, 1], with the highest probability of that
    label by the bundle's classifier.

    The n labels are those of ``Sampler.sample``; a label requested m times gets ceil(m / keep) candidates. Candidates
    have consecutive seeds and cycle through the requested labels. The kept samples of a label are in the order of their
    seeds, so ``keep=1`` returns the result of ``sample``. ``sample`` with a kept sample's seed and label, the same
    settings and ``batch_size`` (default: all candidates, at most ``default_batch_size``) draws it again.

    seeds: the first candidate's, an integer; by default a fresh one. There is no list of them, because there are more
        candidates than samples.
    settings: temperature, top_k, top_p and min_p as in ``sample``, but a number for all samples, or one by level.
    callback: gets progress in terms of candidates. A cancelled run chooses among the finished candidates, and may
        return fewer samples than requested.

    Raises InputError for arguments that do not fit the bundle, and if the bundle has no classes or no classifier.
    """
    check_sampler(sampler)
    for name, setting in settings.items():
        for value in setting.values() if isinstance(setting, Mapping) else [setting]:
            if value is not None and as_array(name, value).ndim:
                raise InputError(f"{name} is {short_repr(value)}, expected one number for all samples")
    first_seed = secrets.randbits(32) if seeds is None else to_python("seeds", seeds, "an integer")
    if isinstance(first_seed, bool) or not isinstance(first_seed, int):
        raise InputError(f"seeds is {short_repr(seeds)}, expected one integer, the first candidate's seed")
    request = SampleRequest.validated(sampler.bundle.manifest, n, labels=labels, seeds=first_seed, settings=settings)
    return best_of_candidates(sampler, request, keep, batch_size, callback)


def best_of_candidates(
    sampler: Sampler, request: SampleRequest, keep: float, batch_size: int | None, callback: Callback | None
) -> Selection:
    """Draws candidates for a validated request with consecutive seeds, and keeps the best; see ``sample_best``.

    Memory holds the best so far and a few batches, not all candidates.
    """
    # 1. Choose the candidates: which sample of the request each is like.
    indices = checked_candidates(sampler.bundle, request, keep)
    assert request.labels is not None
    # 2. Draw them.
    seeds = check_seeds(int(request.seeds[0]), len(indices))
    runs = runs_of(sampler)
    pool, done = Pool(sampler, request.labels), 0
    for batch in runs.stream(request.repeated(indices, seeds), batch_size, callback):
        pool.add(batch)
        done += len(batch.images)
    # 3. Keep the best.
    if not done:
        nothing = Samples(runs.empty_images(0), runs.empty_codes(0), seeds[:0], request.labels[:0], cancelled=True)
        return Selection(nothing, np.empty(0, np.float32), 0)
    samples, confidence = pool.best()
    return Selection(replace(samples, cancelled=done < len(indices)), confidence, done)


def checked_candidates(bundle: Bundle, request: SampleRequest, keep: float) -> NDArray[np.int64]:
    """Returns ``candidates`` for a request. Raises InputError also if they cannot be compared."""
    if request.labels is None:
        raise InputError(f"{bundle.path} has no classes, so a classifier cannot compare samples")
    classifier_file(bundle)
    return candidates(request.labels, _check_fraction(keep))


class Pool:
    """The best of the candidates so far, in the order of their seeds, for the ``requested`` labels [n]."""

    def __init__(self, sampler: Sampler, requested: NDArray[np.int64]) -> None:
        self._sampler, self._requested = sampler, requested
        self._kept: list[Samples] = []  # one, if there are any
        self._confidence = np.empty(0, np.float32)
        self._waiting: list[Samples] = []

    def add(self, batch: Samples) -> None:
        """Adds candidates. They are classified in whole batches, as if all were classified at once."""
        waiting = joined([*self._waiting, batch])
        ready = len(waiting.images) // BATCH * BATCH
        self._waiting = [waiting.take(slice(ready, None))]
        if ready:
            self._classify(waiting.take(slice(ready)))

    def best(self) -> tuple[Samples, NDArray[np.float32]]:
        """Returns the kept samples in the order of the requested labels, and their confidence. Call it once."""
        if len(self._waiting[0].images):
            self._classify(self._waiting[0])
        (kept,) = self._kept
        chosen = self._chosen(kept)
        return kept.take(chosen), self._confidence[chosen]

    def _classify(self, samples: Samples) -> None:
        assert samples.labels is not None
        probabilities = self._sampler.classify(samples.images).probabilities
        confidence = probabilities[np.arange(len(samples.labels)), samples.labels]
        self._confidence = np.concatenate([self._confidence, confidence])
        kept = joined([*self._kept, samples])
        chosen = np.sort(self._chosen(kept))
        self._kept, self._confidence = [kept.take(chosen)], self._confidence[chosen]

    def _chosen(self, kept: Samples) -> NDArray[np.int64]:
        assert kept.labels is not None
        return choose(self._requested, kept.labels, self._confidence)


def candidates(labels: NDArray[np.int64], keep: Fraction) -> NDArray[np.int64]:
    """Returns for each candidate the index of the sample that it is a candidate for, int64: cycles through the n
    samples of these ``labels`` [n], and drops those of a label that has enough candidates.

    Raises InputError if there would be too many candidates.
    """
    needed = _needed(labels, keep)
    if sum(needed.values()) > MAX_SAMPLES:
        raise InputError(
            f"the fraction to keep is {float(keep):g}, which needs more than {MAX_SAMPLES} candidates: use a larger"
            " fraction, or fewer images"
        )
    repeated = np.tile(np.arange(len(labels)), math.ceil(1 / keep))
    selected = np.zeros(len(repeated), bool)
    for label, count in needed.items():
        selected[np.flatnonzero(labels[repeated] == label)[:count]] = True
    return repeated[selected]


def candidate_count(labels: NDArray[np.int64], keep: Fraction) -> int:
    """Returns the length of ``candidates``, without its limit."""
    return sum(_needed(labels, keep).values())


def _needed(labels: NDArray[np.int64], keep: Fraction) -> dict[int, int]:
    """Returns the number of candidates by label."""
    distinct, counts = np.unique(labels, return_counts=True)
    return {int(label): math.ceil(int(count) / keep) for label, count in zip(distinct, counts, strict=True)}


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


def _check_fraction(keep: object) -> Fraction:
    """Returns the fraction exactly as it is written, so that 3 / 0.3 is 10 and not slightly more."""
    if (
        isinstance(keep, bool | np.timedelta64)
        or not isinstance(keep, int | float | np.integer | np.floating)
        or not 0 < keep <= 1
    ):
        raise InputError(f"keep is {short_repr(keep)}, expected a fraction over 0, at most 1")
    return Fraction(str(keep))
