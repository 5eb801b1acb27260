"""A run of the sampler in shards: how each shard is drawn, and its files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.bulk.folder import synced
from latentloop.bulk.image_shards import ImageBatch, ImageShardWriter
from latentloop.bulk.journal import WrittenFile
from latentloop.bulk.run import Run, Shard
from latentloop.bulk.shards import Shards
from latentloop.io.codes_file import write_codes
from latentloop.sampling.rejection import best_of_candidates, candidate_count
from latentloop.sampling.results import Callback, Progress, Samples, joined
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
    """Samples of a shard; ``candidates``, the number of images that were drawn for them; with ``best`` the
    ``confidence`` of each.
    """

    samples: Samples
    candidates: int
    confidence: NDArray[np.float32] | None = None

    failed = 0

    @property
    def count(self) -> int:
        """The number of samples."""
        return len(self.samples.images)

    @property
    def cancelled(self) -> bool:
        """Whether the run was cancelled after them."""
        return self.samples.cancelled


@dataclass
class DrawnList:
    """What was drawn, for a report: the numbers of ``images`` and ``candidates``, and if ``listed`` every image's seed,
    label and, with ``best``, confidence.
    """

    listed: bool
    images: int = 0
    candidates: int = 0
    seeds: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)

    def add(self, batch: Drawn) -> None:
        """Adds a batch of samples."""
        self.images += batch.count
        self.candidates += batch.candidates
        if self.listed:
            self.seeds += batch.samples.seeds.tolist()
            self.labels += [] if batch.samples.labels is None else batch.samples.labels.tolist()
            self.confidence += [] if batch.confidence is None else batch.confidence.tolist()

    def join(self, later: DrawnList) -> None:
        """Adds what was drawn after it, except the number of images, which is known earlier."""
        self.candidates += later.candidates
        self.seeds += later.seeds
        self.labels += later.labels
        self.confidence += later.confidence


@dataclass(frozen=True, eq=False)
class SampleRun:
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

    def on(self, sampler: Sampler, callback: Callback | None = None) -> Run[Drawn]:
        """Returns the run with this sampler; see ``drawn``."""
        return Run(self.shards, lambda number: self.drawn(sampler, number, callback), partial(SampleWriter, self))

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


class SampleWriter:
    """Writes the images of a shard and, if asked for, its codes. Implements ``ShardWriter``."""

    def __init__(self, run: SampleRun, shard: Shard) -> None:
        self._run, self._shard = run, shard
        self._writer = ImageShardWriter[ImageBatch](run.format, run.scale, shard)
        self._codes: list[Samples] = []

    @property
    def images(self) -> int:
        """The number of images written so far."""
        return self._writer.images

    def add(self, batch: Drawn) -> None:
        """Writes the next samples of the shard."""
        samples, first = batch.samples, self._run.shards.part(self._shard.number).start + self.images
        classes = self._run.request.manifest.classes
        names = None if samples.labels is None else [classes[label] for label in samples.labels.tolist()]
        indices = range(first, first + batch.count)
        self._writer.add(ImageBatch(indices, samples.images, samples.seeds, samples.labels, names))
        if self._run.codes is not None:
            self._codes.append(replace(samples, images=np.empty((0, *samples.images.shape[1:]), np.uint8)))

    def finish(self) -> tuple[WrittenFile, ...]:
        """Returns the files of the shard, which are on the disk."""
        files = list(self._writer.finish())
        if self._run.codes is not None:
            files += self._write_codes(self._run.codes)
        return tuple(files)

    def close(self) -> None:
        """Closes files after an error."""
        self._writer.close()

    def _write_codes(self, output: CodesOutput) -> list[WrittenFile]:
        """Writes the codes, and returns their file if it is one of the shard."""
        run, name = self._run, self._shard.file_name("codes", ".npz")
        samples, manifest = joined(self._codes), run.request.manifest
        per_image: dict[str, Any] = {"seeds": samples.seeds}
        if samples.labels is not None:
            per_image["labels"] = samples.labels
        write_codes(
            self._shard.path(name) if output.file is None else output.file,
            samples.codes,
            per_image,
            origin=manifest.origin(),
            classes=manifest.classes,
            settings=output.settings,
            earlier_origins=output.origins(run.shards.part(self._shard.number)),
            force=output.force,
        )
        return [synced(self._shard.folder, name)] if output.file is None else []
