"""Inputs and outputs of the loop over one level's codes."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.draws.settings import FILTERS

Codes = NDArray[np.int64]
Floats = NDArray[np.float32]
DrawnCodes = Callable[[], dict[str, Codes]]  # codes [B, h, w] of the levels so far, -1 in rows that are not finished
# Arguments: the level's name, its number of finished rows, and a function for the codes drawn so far, which may be
# called until AfterRow returns. False cancels.
AfterRow = Callable[[str, int, DrawnCodes], bool]


@dataclass(frozen=True, eq=False)
class LevelInputs:
    """Inputs of one level for a batch of B samples. ``settings`` are those of ``DrawSettings.arrays``; without them the
    temperature is 1, and there are no filters.
    """

    uniform: Floats  # [H, W, B]
    forced: Codes  # [H, W, B], -1 if the code is to be drawn
    settings: dict[str, NDArray[Any]] = field(default_factory=dict)  # [B] by name
    upper: Codes | None = None  # [B, H', W'], the level above
    labels: Codes | None = None  # [B]

    @staticmethod
    def forcing(codes: Codes, upper: Codes | None, labels: Codes | None) -> LevelInputs:
        """Returns inputs that force every code [B, H, W], for reading the logits at each position."""
        batch, height, width = codes.shape
        return LevelInputs(
            uniform=np.zeros((height, width, batch), np.float32),
            forced=codes.transpose(1, 2, 0),
            upper=upper,
            labels=labels,
        )

    @property
    def batch(self) -> int:
        """Number of samples, B."""
        return int(self.uniform.shape[-1])

    @property
    def is_filtered(self) -> bool:
        """Whether a filter is in use, so that the step with filters has to run."""
        return any(each.name in self.settings for each in FILTERS)

    def with_upper(self, upper: Codes | None) -> LevelInputs:
        """Returns these inputs with the codes [B, H', W'] of the level above."""
        return replace(self, upper=upper)

    def constants(self, buffers: Container[str]) -> dict[str, NDArray[Any]]:
        """Returns the arrays that are constant during a batch and have a state buffer, by its name and in its layout.

        ``buffers`` are the names of all state buffers.
        """
        arrays = {"temperature": np.ones(self.batch, np.float32), **self.settings}
        if self.upper is not None:
            arrays["upper"] = self.upper.transpose(1, 2, 0)
        if self.labels is not None:
            arrays["labels"] = self.labels
        return {name: array for name, array in arrays.items() if name in buffers}


@dataclass(frozen=True, eq=False)
class LevelDraw:
    """One level of a batch: its name, and either its codes [B, h, w] or the inputs of the loop that draws them.

    ``upper`` of these inputs is not set: the backend sets it to the codes of the level above.
    """

    level: str
    source: Codes | LevelInputs


@dataclass(frozen=True, eq=False)
class Row:
    """A finished row: codes [W, B] and logits [W, B, K]. Both may be views of the loop's buffers, which the next row
    overwrites.
    """

    index: int
    codes: Codes
    logits: Floats
