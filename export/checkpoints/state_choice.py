"""Which of the states in a checkpoint's file the user wants: the weights, their moving average, …"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from latentloop.errors import CheckpointError, InputError
from latentloop.export.checkpoints.checkpoint import listed


class State(Protocol):
    """A state in a file."""

    @property
    def name(self) -> str:
        """What names it on the command line."""

    def answers(self, name: str) -> int:
        """How well another name names it; 0 for not at all."""


AnyState = TypeVar("AnyState", bound=State)


@dataclass
class StateChoice:
    """The state wanted of one ``part``, ``vqvae`` or a level: ``only`` that one, or ``usual`` where there is such."""

    part: str
    only: str | None = None
    usual: str | None = None
    found: bool = False
    held: str = ""

    @property
    def wanted(self) -> str | None:
        """The name that was given, if any."""
        return self.only if self.only is not None else self.usual

    def pick(self, path: Path, states: Sequence[AnyState]) -> AnyState | None:
        """The state that was asked for; None where none was, or where the file lacks the ``usual`` one.

        Raises CheckpointError where it lacks the ``only`` one, or where the name could mean several.
        """
        names = listed([state.name for state in states], ", ") or "no named state"
        self.held = f"{path} holds {names}"
        wanted = self.wanted
        if wanted is None:
            return None
        best = max((state.answers(wanted) for state in states), default=0)
        matching = [state for state in states if best and state.answers(wanted) == best]
        if len(matching) > 1:
            told = listed([state.name for state in matching], ", ")
            raise CheckpointError(f"{path}: the state {wanted} could be each of {told}; give one of these names")
        self.found = bool(matching)
        if not matching and self.only is not None:
            raise CheckpointError(f"{path} has no state {wanted} for {self.part}: it holds {names}")
        return matching[0] if matching else None


@dataclass
class StateChoices:
    """The option ``--state``: one name for every file that has it, other names for single parts."""

    usual: str | None = None
    parts: dict[str, str] = field(default_factory=dict)
    made: list[StateChoice] = field(default_factory=list)

    @classmethod
    def parse(cls, texts: Sequence[str]) -> StateChoices:
        """From ``NAME`` and ``PART=NAME``. Raises InputError."""
        choices = cls()
        for text in texts:
            part, separator, name = text.partition("=")
            if not separator:
                part, name = "", text
            if not name.strip() or (separator and not part.strip()):
                raise InputError(f"state is {text!r}, expected NAME or PART=NAME, such as ema or vqvae=ema")
            if part == "classifier":
                raise InputError(f"state is {text!r}: a classifier's file holds one state")
            if part in choices.parts or (not part and choices.usual is not None):
                raise InputError(f"two states are given for {part or 'every file'}")
            if part:
                choices.parts[part] = name
            else:
                choices.usual = name
        return choices

    def of(self, part: str) -> StateChoice:
        """The choice for the VQ-VAE or a level."""
        self.made.append(StateChoice(part, self.parts.get(part), self.usual))
        return self.made[-1]

    def check(self) -> None:
        """Once all files are read: raises InputError where a name served none of them."""
        read = [choice.part for choice in self.made]
        for part in self.parts:
            if part not in read:
                raise InputError(f"a state is given for {part}, but no such file; the files are: {', '.join(read)}")
        if self.usual is not None and not any(choice.found and choice.only is None for choice in self.made):
            held = "; ".join(choice.held for choice in self.made)
            raise InputError(f"no file has the state {self.usual}: {held}")
