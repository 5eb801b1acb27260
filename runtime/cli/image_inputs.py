"""The images that ``encode`` and ``reconstruct`` are given: all checked before the work, then read as it goes on."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentloop.cli import progress
from latentloop.errors import InputError
from latentloop.images.problems import Problem, count, raise_for
from latentloop.images.reading import noted, read_each
from latentloop.images.search import find

_REMEDY = "; --skip-bad leaves them out"
_CHANGED = "changed after they were checked"


@dataclass
class Inputs:
    """Images that can be read, and those that are left out."""

    files: list[Path]
    skipped: list[Problem]
    image: tuple[int, int, int]
    resize: bool
    skip_bad: bool
    threads: int | None
    changed: list[Problem] = field(default_factory=list)  # could be read when they were checked, but not again

    @staticmethod
    def of(arguments: argparse.Namespace, image: tuple[int, int, int]) -> Inputs:
        """What the command was given, for images of (H, W, C); says on stderr what is left out or not followed.

        Raises one InputError that names all that cannot be used, unless ``--skip-bad`` was given and some can.
        """
        found = find(arguments.images)
        for line in found.notes:
            _say(line)
        problems, good, notes = list(found.problems), [], []
        total = len(found.files) + len(problems)
        reads = read_each(found.files, image, resize=arguments.resize, threads=arguments.threads)
        for part in progress.parts(len(found.files), "check"):
            for read in islice(reads, part.stop - part.start):
                if read.problem:
                    problems.append(read.problem)
                    continue
                good.append(read.file)
                if read.note:
                    notes.append((read.file, read.note))
        for line in noted(notes):
            _say(line)
        if not arguments.skip_bad or not good:
            raise_for(problems, total, _REMEDY)
        if problems:
            _say(count(problems, total, "are left out"))
        return Inputs(good, problems, image, arguments.resize, arguments.skip_bad, arguments.threads)

    def parts(
        self, label: str, stop: Callable[[], bool] = lambda: False
    ) -> Iterator[tuple[list[Path], NDArray[np.uint8]]]:
        """Files and their images, uint8 [n, H, W, C], a part at a time behind a bar, until ``stop`` says so.

        A file that can no longer be read is left out, and told by ``close``. Raises InputError where none can.
        """
        for part in progress.parts(len(self.files), label):
            files, images = [], []
            for read in read_each(self.files[part], self.image, resize=self.resize, threads=self.threads):
                if stop():
                    return
                if read.problem:
                    self.changed.append(read.problem)
                if read.pixels is not None:
                    files.append(read.file)
                    images.append(read.pixels)
            if files:
                yield files, np.stack(images)
        if len(self.changed) == len(self.files):
            raise InputError(count(self.changed, len(self.files), _CHANGED))

    def close(self, done: str) -> None:
        """Raises InputError where files changed between check and work; ``done`` tells what became of the others."""
        if self.changed:
            text = count(self.changed, len(self.files), _CHANGED)
            if not self.skip_bad:
                raise InputError(f"{text}; {done}")
            _say(f"left out: {text}")

    def summary(self) -> list[dict[str, str]]:
        """What was left out, for ``--json``."""
        return [
            {"file": str(problem.path), "reason": " ".join(problem.reason.split())}
            for problem in (*self.skipped, *self.changed)
        ]


def _say(text: str) -> None:
    print(f"latentloop: {text}", file=sys.stderr)
