"""The interface of a checkpoint layout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from latentloop.export.checkpoints.checkpoint import Checkpoint, Kind
from latentloop.export.state_dicts.checkpoint_file import CheckpointFile
from latentloop.export.state_dicts.selection import StateSelection


@dataclass(frozen=True)
class ReadRequest:
    """The model to read from a file.

    ``selection``: the state to use if the file has several. ``heads`` and ``grid`` (height, width in codes) of a prior:
    needed if the file does not determine them.
    """

    kind: Kind
    selection: StateSelection
    heads: int | None = None
    grid: tuple[int, int] | None = None


class Layout(Protocol):
    """A layout of checkpoints."""

    def can_read(self, file: CheckpointFile) -> bool:
        """Returns whether the file has this layout; False for a file that is damaged or missing."""

    def read(self, file: CheckpointFile, request: ReadRequest) -> Checkpoint:
        """Reads the requested model: float32 weights, named as in ``latentloop.export.models``.

        Raises CheckpointError that names the file, what it found and expected, and a remedy.
        """

    def expected(self, kind: Kind) -> str:
        """Returns how a file with such a model is recognised, for error messages; empty if the layout has none."""
