"""The option ``--state``: selection of a state in a file with several (weights, their moving average, …)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from latentloop.errors import CheckpointError, InputError, listed
from latentloop.export.state_dicts.candidates import Candidate


@dataclass
class StateSelection:
    """The selection for one ``part``, ``vqvae`` or the name of a level.

    ``required``: the name of a state that the file must have. ``preferred``: the name of a state to use if the
    file has it.
    """

    part: str
    required: str | None = None
    preferred: str | None = None
    matched: bool = False  # whether ``select`` selected a state by its name
    content: str = ""  # the states of the file, for an error message

    @property
    def name(self) -> str | None:
        """The selected name, if any."""
        return self.required if self.required is not None else self.preferred

    def select(self, path: Path, states: Sequence[Candidate]) -> Candidate | None:
        """Returns the selected state; None without a selection, or if the file lacks the ``preferred`` state.

        Raises CheckpointError if the file lacks the ``required`` state, or if several states match the name.
        """
        names = listed([state.name for state in states]) or "no named state"
        self.content = f"{path} holds {names}"
        name = self.name
        if name is None:
            return None
        best = max((state.match_rank(name) for state in states), default=0)
        matches = [state for state in states if best and state.match_rank(name) == best]
        if len(matches) > 1:
            ambiguous = listed([state.name for state in matches])
            raise CheckpointError(f"{path}: the state {name} could be each of {ambiguous}; give one of these names")
        self.matched = bool(matches)
        if not matches and self.required is not None:
            raise CheckpointError(f"{path} has no state {name} for {self.part}: it holds {names}")
        return matches[0] if matches else None


@dataclass
class StateOption:
    """The values of ``--state``: a name for every file that has such a state, and names for single parts."""

    preferred: str | None = None
    required: dict[str, str] = field(default_factory=dict)  # by part
    selections: list[StateSelection] = field(default_factory=list)

    @classmethod
    def parse(cls, texts: Sequence[str]) -> StateOption:
        """Parses the values ``NAME`` and ``PART=NAME``. Raises InputError."""
        option = cls()
        for text in texts:
            part, separator, name = text.partition("=")
            if not separator:
                part, name = "", text
            if not name.strip() or (separator and not part.strip()):
                raise InputError(f"state is {text!r}, expected NAME or PART=NAME, such as ema or vqvae=ema")
            if part == "classifier":
                raise InputError(f"state is {text!r}, but a classifier's file holds one state only")
            if part in option.required or (not part and option.preferred is not None):
                raise InputError(f"two states are given for {part or 'every file'}")
            if part:
                option.required[part] = name
            else:
                option.preferred = name
        return option

    def selection(self, part: str) -> StateSelection:
        """Returns the selection for the VQ-VAE or a level."""
        self.selections.append(StateSelection(part, self.required.get(part), self.preferred))
        return self.selections[-1]

    def check(self) -> None:
        """Raises InputError if a name selected no state. To be called when all files have been read."""
        parts = [selection.part for selection in self.selections]
        for part in self.required:
            if part not in parts:
                raise InputError(f"a state is given for {part}, but no such file; the files are: {', '.join(parts)}")
        if self.preferred is not None and not any(each.matched and each.required is None for each in self.selections):
            contents = "; ".join(selection.content for selection in self.selections)
            raise InputError(f"no file has the state {self.preferred}: {contents}")
