"""Inputs and outputs of the loop over one level's codes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int64]
Floats = NDArray[np.float32]
AfterRow = Callable[[str, int], bool]  # arguments: the level's name, its number of finished rows; False cancels


@dataclass(frozen=True)
class LevelInputs:
    """Inputs of one level for a batch of B samples. ``top_k`` and ``top_p`` are both None if no filter is requested."""

    uniform: Floats  # [H, W, B]
    forced: Codes  # [H, W, B], -1 if the code is to be drawn
    temperature: Floats  # [B]
    top_k: Codes | None = None  # [B]
    top_p: Floats | None = None  # [B]
    upper: Codes | None = None  # [B, H', W'], the level above
    labels: Codes | None = None  # [B]

    @staticmethod
    def forcing(codes: Codes, upper: Codes | None, labels: Codes | None) -> LevelInputs:
        """Returns inputs that force every code [B, H, W], for reading the logits at each position."""
        batch, height, width = codes.shape
        return LevelInputs(
            uniform=np.zeros((height, width, batch), np.float32),
            forced=codes.transpose(1, 2, 0),
            temperature=np.ones(batch, np.float32),
            upper=upper,
            labels=labels,
        )

    @property
    def batch(self) -> int:
        """Number of samples, B."""
        return len(self.temperature)

    def with_upper(self, upper: Codes | None) -> LevelInputs:
        """Returns these inputs with the codes [B, H', W'] of the level above."""
        return replace(self, upper=upper)

    def settings(self) -> dict[str, NDArray[Any]]:
        """Returns the arrays that are constant during a batch, by the name of their state buffer and in its layout."""
        upper = None if self.upper is None else self.upper.transpose(1, 2, 0)
        arrays = {
            "temperature": self.temperature,
            "top_k": self.top_k,
            "top_p": self.top_p,
            "upper": upper,
            "labels": self.labels,
        }
        return {name: array for name, array in arrays.items() if array is not None}


@dataclass(frozen=True)
class LevelDraw:
    """One level of a batch: its name, and either its codes [B, h, w] or the inputs of the loop that draws them.

    ``upper`` of these inputs is not set: the backend sets it to the codes of the level above.
    """

    level: str
    source: Codes | LevelInputs


@dataclass(frozen=True)
class Row:
    """A finished row: codes [W, B] and logits [W, B, K]. Both may be views of the loop's buffers, which the next row
    overwrites.
    """

    index: int
    codes: Codes
    logits: Floats
