"""The input images of ``encode`` and ``reconstruct``: all are checked first, then read part by part."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentloop.cli import progress
from latentloop.cli.interrupt import StopRequest
from latentloop.cli.messages import note
from latentloop.errors import InputError
from latentloop.images.idx import IdxImage
from latentloop.images.problems import Problem, Source, raise_for, summarise
from latentloop.images.reading import ReadResult, merge_notes, read_each
from latentloop.images.search import find_images
from latentloop.images.sources import single_images

_REMEDY = "; --skip-bad leaves them out"
_CHANGED = "changed after they were checked"


@dataclass
class ImageInputs:
    """Files that ``read`` can read as images of one size [H, W, C], and the problems of the ``skipped`` others."""

    files: list[Source]
    skipped: list[Problem]
    skip_bad: bool
    read: Callable[[Sequence[Source]], Iterator[ReadResult]]
    changed: list[Problem] = field(default_factory=list)  # files that only ``check`` could read

    @staticmethod
    def check(arguments: argparse.Namespace, image: tuple[int, int, int]) -> ImageInputs:
        """Reads each file once and returns the usable ones. Notes on stderr report ignored links and skipped files.

        Raises one InputError that names all unusable files; with ``--skip-bad``, only if no file is usable.
        """
        search = find_images(arguments.images)
        for line in search.notes:
            note(line)
        sources, idx_problems = single_images(search.files, image, resize=arguments.resize)
        problems, files, notes = [*search.problems, *idx_problems], [], []
        total = len(sources) + len(problems)
        read = partial(read_each, image=image, resize=arguments.resize, threads=arguments.threads)
        results = read(sources)
        for part in progress.parts(len(sources), "check"):
            for result in islice(results, part.stop - part.start):
                if result.problem:
                    problems.append(result.problem)
                    continue
                files.append(result.file)
                if result.note:
                    notes.append((result.file, result.note))
        for line in merge_notes(notes):
            note(line)
        if not arguments.skip_bad or not files:
            raise_for(problems, total, _REMEDY)
        if problems:
            note(summarise(problems, total, "are left out"))
        return ImageInputs(files, problems, arguments.skip_bad, read)

    def batches(self, size: int, label: str, stop: StopRequest) -> Iterator[tuple[list[Source], NDArray[np.uint8]]]:
        """Yields up to ``size`` files and their images, uint8 [n, H, W, C], with a progress bar, until ``stop`` is set.

        Leaves out files that can no longer be read, and adds them to ``changed``. Raises InputError if no
        file is left.
        """
        for part in progress.parts(len(self.files), label):
            files, images = [], []
            for result in self.read(self.files[part]):
                if stop.is_set():
                    return
                if result.problem:
                    self.changed.append(result.problem)
                if result.pixels is not None:
                    files.append(result.file)
                    images.append(result.pixels)
            for start in range(0, len(files), size):
                if stop.is_set():
                    return
                yield files[start : start + size], np.stack(images[start : start + size])
        if len(self.changed) == len(self.files):
            raise InputError(summarise(self.changed, len(self.files), _CHANGED))

    def report_changed(self, others: str) -> None:
        """Reports the files in ``changed``: as a note with ``--skip-bad``, otherwise as InputError. ``others`` says
        what was done with the other files.
        """
        if self.changed:
            text = summarise(self.changed, len(self.files), _CHANGED)
            if not self.skip_bad:
                raise InputError(f"{text}; {others}")
            note(f"left out: {text}")

    @property
    def paths(self) -> set[Path]:
        """The files on disk."""
        return {source.file.path if isinstance(source, IdxImage) else source for source in self.files}

    def skipped_as_json(self) -> list[dict[str, str]]:
        """Returns the files that were left out, and the reasons, for ``--json``."""
        return [
            {"file": str(problem.path), "reason": " ".join(problem.reason.split())}
            for problem in (*self.skipped, *self.changed)
        ]


def labels_of(sources: Sequence[Source], classes: Sequence[str]) -> list[int] | None:
    """Returns the label of each image if all have one: that of an IDX file, or else the class of a bundle with the name
    of the folder that the file is in. A note says if only some have one.
    """
    numbers = {name: label for label, name in reversed(list(enumerate(classes)))}

    def label(source: Source) -> int | None:
        if isinstance(source, Path):
            return numbers.get(source.absolute().parent.name)
        labels = source.file.labels
        return None if labels is None or labels[source.index] >= len(classes) else int(labels[source.index])

    labels = [found for source in sources if (found := label(source)) is not None]
    if len(labels) == len(sources):
        return labels
    if labels:
        note(f"labels are not stored: only {len(labels)} of {len(sources)} images have one of the bundle's classes")
    return None
