"""Inputs and outputs of the loop over one level's codes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int64]
Floats = NDArray[np.float32]
AfterRow = Callable[[str, int], bool]  # arguments: the level's name, and its finished rows; False cancels


@dataclass(frozen=True)
class LevelInputs:
    """Inputs of one batch of B samples of one level. ``top_k`` and ``top_p`` are None if no filter is requested."""

    uniform: Floats  # [H, W, B]
    forced: Codes  # [H, W, B], -1 if the code is to be drawn
    temperature: Floats  # [B]
    top_k: Codes | None = None  # [B]
    top_p: Floats | None = None  # [B]
    upper: Codes | None = None  # [B, H', W'], the level above
    labels: Codes | None = None  # [B]

    @staticmethod
    def forcing(codes: Codes, upper: Codes | None, labels: Codes | None) -> LevelInputs:
        """Returns inputs that force every code [B, H, W], to read the logits at each position."""
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
        """B."""
        return len(self.temperature)

    def below(self, upper: Codes | None) -> LevelInputs:
        """Returns these inputs with the codes [B, H', W'] of the level above."""
        return replace(self, upper=upper)

    def settings(self) -> dict[str, NDArray[Any]]:
        """Returns what is constant during the batch, by the name of the state buffer and in that buffer's layout."""
        upper = None if self.upper is None else self.upper.transpose(1, 2, 0)
        named = ("temperature", self.temperature), ("top_k", self.top_k), ("top_p", self.top_p)
        return {name: value for name, value in (*named, ("upper", upper), ("labels", self.labels)) if value is not None}


@dataclass(frozen=True)
class LevelDraw:
    """One level of a batch, by name, and the source of its codes: the codes themselves, [B, h, w], or the inputs of the
    loop that draws them. These do not set ``upper``: the backend does, from the codes of the level above.
    """

    level: str
    source: Codes | LevelInputs


@dataclass(frozen=True)
class Row:
    """A finished row: codes [W, B] and logits [W, B, K]. They are views of the loop's memory: copy what you keep."""

    index: int
    codes: Codes
    logits: Floats
