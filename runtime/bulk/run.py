"""A run of the sampler in shards: how each shard is drawn, and what its files record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.bulk.shards import Shards
from latentloop.sampling.rejection import best_of_candidates, candidate_count
from latentloop.sampling.results import Callback, Progress, Samples
from latentloop.sampling.sample_request import SampleRequest
from latentloop.sampling.sampler import Sampler, runs_of
from latentloop.sampling.validation import check_seeds


@dataclass(frozen=True)
class CodesOutput:
    """Where the codes are written: to ``file``, for a run of one shard, or to a file of each shard beside its images.

    ``settings`` by level and ``earlier_origins`` of all the run's codes are those of ``write_codes``; ``force``
    replaces ``file``.
    """

    settings: Mapping[str, Mapping[str, Any]]
    earlier_origins: Mapping[str, Sequence[Mapping[str, Any]]]
    file: Path | None = None
    force: bool = False

    def origins(self, part: slice) -> dict[str, list[dict[str, Any]]]:
        """Returns the earlier origins of some of the codes: of seeds of all samples, those of the part."""
        return {
            level: [
                {
                    name: value[part] if name == "seeds" and isinstance(value, list) else value
                    for name, value in each.items()
                }
                for each in origins
            ]
            for level, origins in self.earlier_origins.items()
        }


@dataclass(frozen=True, eq=False)
class Drawn:
    """Samples of a shard; the number of images that were drawn for them; with ``best`` the ``confidence`` of each."""

    samples: Samples
    images: int
    confidence: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class BulkRun:
    """The samples of ``request``, in shards. A shard is drawn as a request of its own, in batches of ``batch_size``, so
    its samples depend on nothing outside it.

    With ``best``, a shard's samples are chosen among candidates for this shard; candidates of the run have consecutive
    seeds. ``scale``: pixels of a file for a pixel of the model.
    """

    request: SampleRequest
    batch_size: int
    shards: Shards
    format: str
    scale: int = 1
    best: float | None = None
    codes: CodesOutput | None = None

    @cached_property
    def candidates_before(self) -> NDArray[np.int64]:
        """The number of images drawn before each shard, and in all, int64 [shards + 1]."""
        if self.best is None or self.request.labels is None:
            return np.minimum(np.arange(self.shards.count + 1, dtype=np.int64) * self.shards.size, self.shards.n)
        keep, labels = Fraction(str(self.best)), self.request.labels
        counts = [candidate_count(labels[self.shards.part(number)], keep) for number in range(self.shards.count)]
        return np.cumsum([0, *counts], dtype=np.int64)

    def drawn(self, sampler: Sampler, number: int, callback: Callback | None = None) -> Iterator[Drawn]:
        """Yields a shard's samples, in batches, or with ``best`` at once. The callback gets progress in terms of all
        images that the run draws; a batch after which it cancels the run has ``cancelled`` set.
        """
        request, first = self.request.take(self.shards.part(number)), int(self.candidates_before[number])
        total = int(self.candidates_before[-1])

        def in_run(progress: Progress) -> bool | None:
            assert callback is not None
            return callback(replace(progress, images_done=first + progress.images_done, images_total=total))

        report = None if callback is None else in_run
        if self.best is None:
            for batch in runs_of(sampler).stream(request, self.batch_size, report):
                yield Drawn(batch, len(batch.images))
            return
        seeds = check_seeds(int(self.request.seeds[0]) + first, request.n)
        request = replace(request, seeds=seeds)
        selection = best_of_candidates(sampler, request, self.best, self.batch_size, report)
        if selection.candidates:
            yield Drawn(selection.samples, selection.candidates, selection.confidence)
