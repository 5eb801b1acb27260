"""The states in a file that can be the state dict of one kind of model, in order of preference."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from latentloop.export.state_dicts.files.contents import Contents, Item, Parts

# Order of preference: weights before averages of them, then these names, then the order in the file.
PREFERRED = ("model", "state_dict", "model_state_dict", "net", "network")
_AVERAGES = frozenset(("ema", "average", "averaged", "avg", "swa", "shadow", "teacher", "target", "polyak"))
_OPTIMISERS = frozenset(
    ("optim", "optimizer", "optimizers", "optimiser", "opt", "adam", "exp", "grad", "grads", "momentum")
)


@dataclass
class Candidate:
    """A state: the entries of the file under ``prefix``, by their plain names without it.

    ``path``: the prefix as the file spells it. ``duplicates``: further entries with a plain name that is in
    ``entries`` already.
    """

    prefix: Parts
    path: Parts
    entries: dict[str, Item] = field(default_factory=dict)
    duplicates: dict[str, Item] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name for the command line: ``.`` for names without a prefix."""
        return ".".join(self.path) or "."

    def match_rank(self, name: str) -> int:
        """Returns how well ``name`` matches: 3 for the whole path, 2 for its beginning, 1 for parts within, else 0."""
        if name == ".":
            return 3 if not self.prefix else 0
        parts = tuple(name.split("."))
        best = 0
        for path in (self.path, self.prefix):
            is_inside = any(path[n : n + len(parts)] == parts for n in range(len(path)))
            best = max(best, 3 if path == parts else 2 if path[: len(parts)] == parts else int(is_inside))
        return best


def candidates(contents: Contents, landmarks: Iterable[str], level: str | None = None) -> list[Candidate]:
    """Returns every state that has one of the ``landmarks``, in order of preference.

    ``landmarks``: names of tensors that only this kind of model has. ``level``: the level of a prior, because a file
    can hold the priors of several.
    """
    states: dict[Parts, Candidate] = {}
    for prefix, path in _prefixes(contents, landmarks):
        states.setdefault(prefix, Candidate(prefix, path))
    for item, parts, _ in contents.plain:
        # An entry under several of the prefixes belongs to the longest.
        prefixes = (parts[:length] for length in range(len(parts) - 1, -1, -1))
        owner = next((states[prefix] for prefix in prefixes if prefix in states), None)
        if owner is not None:
            name = ".".join(parts[len(owner.prefix) :])
            (owner.duplicates if name in owner.entries else owner.entries)[name] = item
    order = list(states.values())
    return sorted(order, key=lambda candidate: (*_rank(candidate, level), order.index(candidate)))


def has_landmark(contents: Contents, landmarks: Iterable[str]) -> bool:
    """Returns whether a name in the file ends with one of the ``landmarks``."""
    return any(True for _ in _prefixes(contents, landmarks))


def _prefixes(contents: Contents, landmarks: Iterable[str]) -> Iterator[tuple[Parts, Parts]]:
    """Yields the prefix of every name that ends with one of the ``landmarks``, and the prefix as the file spells it."""
    tails = [tuple(name.split(".")) for name in landmarks]
    for item, parts, indices in contents.plain:
        for tail in tails:
            if parts[-len(tail) :] == tail:
                prefix = parts[: -len(tail)]
                yield prefix, item.parts[: indices[len(prefix)]]


def _rank(candidate: Candidate, level: str | None) -> tuple[bool, bool, bool, int]:
    """Returns a key for sorting: the preferred state has the smallest."""
    words = [word.lower() for word in re.findall("[A-Z]?[a-z]+|[A-Z]+|[0-9]+", ".".join(candidate.path))]
    words += [average for word in words for average in _joined_averages(word)]
    named = [PREFERRED.index(part) for part in candidate.prefix if part in PREFERRED]
    return (
        level is not None and not {level, level[0]}.intersection(words),
        not _OPTIMISERS.isdisjoint(words),
        not _AVERAGES.isdisjoint(words),
        min(named, default=len(PREFERRED)) if candidate.prefix else -1,
    )


def _joined_averages(word: str) -> tuple[str, ...]:
    """Returns the average's name in a joined word: ``ema`` of ``modelema`` and ``emaweights``."""
    usual = (*PREFERRED, "gen", "generator", "params", "weights")
    return tuple(average for average in _AVERAGES for name in usual if word in (average + name, name + average))
