"""The states in a file that may make one kind of model, and which of them is taken where there are several."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from latentloop.export.state_dicts.contents import Contents, Item, Parts

# Where several states make the model: weights before averages of them, then in this order, then as the file has them.
PREFERRED = ("model", "state_dict", "model_state_dict", "net", "network")
_AVERAGES = frozenset(("ema", "average", "averaged", "avg", "swa", "shadow", "teacher", "target", "polyak"))
_OPTIMISERS = frozenset(
    ("optim", "optimizer", "optimizers", "optimiser", "opt", "adam", "exp", "grad", "grads", "momentum")
)


@dataclass
class Candidate:
    """A state: its tensors' plain names under ``prefix``, each with its entry in the file.

    ``place`` is the prefix as the file spells it; ``twice`` has the entries that mean a name a second time.
    """

    prefix: Parts
    place: Parts
    entries: dict[str, Item] = field(default_factory=dict)
    twice: dict[str, Item] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What names it on the command line: ``.`` for names without a prefix."""
        return ".".join(self.place) or "."

    def answers(self, name: str) -> int:
        """How well ``name`` names it: 3 exactly, 2 as its beginning, 1 as parts within, 0 not at all."""
        if name == ".":
            return 3 if not self.prefix else 0
        wanted = tuple(name.split("."))
        best = 0
        for own in (self.place, self.prefix):
            inside = any(own[n : n + len(wanted)] == wanted for n in range(len(own)))
            best = max(best, 3 if own == wanted else 2 if own[: len(wanted)] == wanted else int(inside))
        return best


def candidates(contents: Contents, landmarks: Iterable[str], level: str | None = None) -> list[Candidate]:
    """Every state that has one of the ``landmarks``, names that only this kind of model has; the preferred one first.

    ``level`` is the prior's that is looked for, in a file that may hold those of several.
    """
    tails = [tuple(name.split(".")) for name in landmarks]
    plain = [(item, *item.plain()) for item in contents.items]
    found: dict[Parts, Candidate] = {}
    for item, parts, places in plain:
        for tail in tails:
            if parts[-len(tail) :] == tail:
                prefix = parts[: -len(tail)]
                found.setdefault(prefix, Candidate(prefix, item.parts[: places[len(prefix)]]))
    for item, parts, _ in plain:
        # What lies under several prefixes is the longest one's.
        prefixes = (parts[:length] for length in range(len(parts) - 1, -1, -1))
        owner = next((found[prefix] for prefix in prefixes if prefix in found), None)
        if owner is not None:
            name = ".".join(parts[len(owner.prefix) :])
            (owner.twice if name in owner.entries else owner.entries)[name] = item
    order = list(found.values())
    return sorted(order, key=lambda candidate: (*_rank(candidate, level), order.index(candidate)))


def _apart(word: str) -> tuple[str, ...]:
    """``ema`` of ``modelema`` and ``emaweights``: written together with one of the usual names."""
    usual = (*PREFERRED, "gen", "generator", "params", "weights")
    return tuple(each for each in _AVERAGES for name in usual if word in (each + name, name + each))


def _rank(candidate: Candidate, level: str | None) -> tuple[bool, bool, bool, int]:
    words = [word.lower() for word in re.findall("[A-Z]?[a-z]+|[A-Z]+|[0-9]+", ".".join(candidate.place))]
    words += [rest for word in words for rest in _apart(word)]
    named = [PREFERRED.index(part) for part in candidate.prefix if part in PREFERRED]
    return (
        level is not None and not {level, level[0]}.intersection(words),
        not _OPTIMISERS.isdisjoint(words),
        not _AVERAGES.isdisjoint(words),
        min(named, default=len(PREFERRED)) if candidate.prefix else -1,
    )
