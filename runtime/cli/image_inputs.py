"""The input images of ``encode``, ``reconstruct`` and ``complete``: all are checked first, then read part by part."""

from __future__ import annotations

import argparse
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
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
class FoundImages:
    """The single images of a command's files and folders, not read yet, and the problems of others."""

    sources: list[Source]
    problems: list[Problem]
    notes: list[str]

    @property
    def total(self) -> int:
        """The number of inputs."""
        return len(self.sources) + len(self.problems)

    @property
    def paths(self) -> set[Path]:
        """The files on disk."""
        return paths_of(self.sources)

    def digest(self) -> str:
        """Returns the SHA-256 of the names of all inputs, their sizes, and when they were last changed."""
        digest = hashlib.sha256()
        last = None
        for source in self.sources:
            path = source.file.path if isinstance(source, IdxImage) else source
            if path != last:
                with suppress(OSError):  # reading it reports the problem
                    state = os.stat(path)
                    digest.update(f"{state.st_size} {state.st_mtime_ns} ".encode())
                digest.update(os.fsencode(path) + b"\0")
            last = path
        for problem in self.problems:
            digest.update(str(problem).encode("utf-8", "surrogateescape") + b"\0")
        return digest.hexdigest()


def find_inputs(
    arguments: argparse.Namespace,
    image: tuple[int, int, int],
    output: Path | None = None,
    paths: Sequence[Path] | None = None,
) -> FoundImages:
    """Returns the images that the options name, or those of ``paths``, at the size ``image`` = (H, W, C). If the folder
    ``output`` is inside one of the folders that they name, its images are results, and left out.
    """
    paths = arguments.images if paths is None else paths
    search = find_images(paths)
    files = search.files
    if output is not None and any(folder.resolve() in output.resolve().parents for folder in paths):
        inside = output.resolve()
        files = [file for file in files if inside not in (*file.absolute().parents, *file.resolve().parents)]
    sources, idx_problems = single_images(files, image, resize=arguments.resize)
    return FoundImages(sources, [*search.problems, *idx_problems], search.notes)


@dataclass
class ImageInputs:
    """Files that ``read`` can read as images of one size [H, W, C], and the problems of the ``skipped`` others."""

    files: list[Source]
    skipped: list[Problem]
    skip_bad: bool
    read: Callable[[Sequence[Source]], Iterator[ReadResult]]
    changed: list[Problem] = field(default_factory=list)  # files that only ``check`` could read

    @staticmethod
    def check(
        arguments: argparse.Namespace, image: tuple[int, int, int], found: FoundImages | None = None
    ) -> ImageInputs:
        """Reads each file once and returns the usable ones. Notes on stderr report ignored links and skipped files.

        Raises one InputError that names all unusable files; with ``--skip-bad``, only if no file is usable.
        """
        found = find_inputs(arguments, image) if found is None else found
        for line in found.notes:
            note(line)
        problems, files, notes = [*found.problems], [], []
        read = partial(read_each, image=image, resize=arguments.resize, threads=arguments.threads)
        results = read(found.sources)
        for part in progress.parts(len(found.sources), "check"):
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
            raise_for(problems, found.total, _REMEDY)
        if problems:
            note(summarise(problems, found.total, "are left out"))
        return ImageInputs(files, problems, arguments.skip_bad, read)

    def batches(self, size: int, label: str, stop: StopRequest) -> Iterator[tuple[list[Source], NDArray[np.uint8]]]:
        """Yields up to ``size`` files and their images, uint8 [n, H, W, C], with a progress bar, until ``stop`` is set.

        Leaves out files that can no longer be read, and adds them to ``changed``. Raises InputError if no
        file is left.
        """
        for part in progress.parts(len(self.files), label):
            for _, indices, images in self.part(part, size, stop):
                if indices:
                    yield [self.files[index] for index in indices], images
        self.check_any_left()

    def part(self, part: slice, size: int, stop: StopRequest) -> Iterator[tuple[int, list[int], NDArray[np.uint8]]]:
        """Yields for the next files of a part, until ``stop`` is set: how many these are, up to ``size``, the numbers
        of those that can be read, and their images, uint8 [n, H, W, C]. Adds the others to ``changed``.
        """
        for start in range(part.start, part.stop, size):
            indices, images = [], []
            numbers = range(start, min(start + size, part.stop))
            for number, result in zip(numbers, self.read(self.files[numbers.start : numbers.stop]), strict=True):
                if stop.is_set():
                    return
                if result.problem:
                    self.changed.append(result.problem)
                if result.pixels is not None:
                    indices.append(number)
                    images.append(result.pixels)
            yield len(numbers), indices, np.stack(images) if images else np.empty((0, 0, 0, 0), np.uint8)

    def lacking(self, count: int) -> tuple[int, int]:
        """Returns how many of ``count`` files that have changed are left out, and how many have failed."""
        return (count, 0) if self.skip_bad else (0, count)

    def check_any_left(self) -> None:
        """Raises InputError if all files have changed."""
        if self.files and len(self.changed) == len(self.files):
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
        return paths_of(self.files)

    def skipped_as_json(self) -> list[dict[str, str]]:
        """Returns the files that were left out, and the reasons, for ``--json``."""
        return [
            {"file": str(problem.path), "reason": " ".join(problem.reason.split())}
            for problem in (*self.skipped, *self.changed)
        ]


def paths_of(sources: Sequence[Source]) -> set[Path]:
    """Returns the files on disk that hold the images."""
    return {source.file.path if isinstance(source, IdxImage) else source for source in sources}


def labels_of(
    sources: Sequence[Source], classes: Sequence[str], unused: str = "labels are not stored"
) -> list[int] | None:
    """Returns the label of each image if all have one: that of an IDX file, or else the class of a bundle with the name
    of the folder that the file is in. If only some have one, a note begins with ``unused``.
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
        note(f"{unused}: only {len(labels)} of {len(sources)} images have one of the bundle's classes")
    return None
