"""What is wrong with input files, told in one line however many there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from latentloop.errors import InputError

SHOWN = 20  # files that are named before a list is cut


@dataclass(frozen=True)
class Problem:
    """A file or folder and what is wrong with it, so that path and reason make a sentence."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{shown(self.path)} {self.reason}"


def shown(path: Path) -> str:
    """The path in one line that any terminal can show: control characters and bytes that are no text are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(path))


def some(texts: Iterable[str], separator: str = ", ") -> str:
    """The first texts in one line; of a long list the rest is counted."""
    every = list(texts)
    rest = len(every) - SHOWN
    return separator.join(islice(every, SHOWN)) + (f"{separator}and {rest} more" if rest > 0 else "")


def count(problems: Sequence[Problem], total: int, what: str = "cannot be used") -> str:
    """How many of ``total`` inputs have a problem, and which."""
    return f"{len(problems)} of {total} inputs {what}: {some(map(str, problems), '; ')}"


def raise_for(problems: Sequence[Problem], total: int, remedy: str = "") -> None:
    """Raises one InputError that names all, if there are any; ``remedy`` ends the message where some can be used."""
    if problems:
        text = str(problems[0]) if total == 1 else count(problems, total)
        raise InputError(text + (remedy if len(problems) < total else ""))
