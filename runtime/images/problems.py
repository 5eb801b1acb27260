"""Problems with input files, reported in one line regardless of their number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from latentloop.errors import InputError, listed, printable
from latentloop.images.idx import IdxImage

Source = Path | IdxImage  # of one image


@dataclass(frozen=True)
class Problem:
    """A file or folder and the reason why it cannot be used. The reason continues a sentence that the path begins."""

    path: Source
    reason: str

    def __str__(self) -> str:
        return f"{printable(self.path)} {self.reason}"


def summarise(problems: Sequence[Problem], total: int, outcome: str = "cannot be used") -> str:
    """Returns a line with the number of problems among ``total`` inputs, and the problems: each reason once, with the
    inputs that it concerns.
    """
    by_reason: dict[str, list[str]] = {}
    for problem in problems:
        by_reason.setdefault(problem.reason, []).append(printable(problem.path))
    texts = (
        f"{paths[0]} {reason}" if len(paths) == 1 else f"{listed(paths)} each {reason}"
        for reason, paths in by_reason.items()
    )
    return f"{len(problems)} of {total} inputs {outcome}: {listed(texts, '; ')}"


def raise_for(problems: Sequence[Problem], total: int, remedy: str = "") -> None:
    """Raises one InputError that names all problems, if any; adds ``remedy`` if other inputs can be used."""
    if problems:
        text = str(problems[0]) if total == 1 else summarise(problems, total)
        raise InputError(text + (remedy if len(problems) < total else ""))
