"""What a loop over one level is asked for, and what it gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.bundles.manifest import Level

Codes = NDArray[np.int64]
Floats = NDArray[np.float32]
AfterRow = Callable[[Level, int], bool]  # a level, and how many of its rows are done; False cancels


@dataclass(frozen=True)
class LevelInputs:
    """What one batch of one level is asked for. B samples; ``top_k`` and ``top_p`` are None without a filter."""

    uniform: Floats  # [H, W, B]
    forced: Codes  # [H, W, B], -1 where a code is to be drawn
    temperature: Floats  # [B]
    top_k: Codes | None = None  # [B]
    top_p: Floats | None = None  # [B]
    upper: Codes | None = None  # [B, H', W'], the level above
    labels: Codes | None = None  # [B]

    @staticmethod
    def forcing(codes: Codes, upper: Codes | None, labels: Codes | None) -> LevelInputs:
        """Draws nothing: every code [B, H, W] is given, to read the logits of each."""
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
        """The same, under those codes [B, H', W'] of the level above."""
        return replace(self, upper=upper)

    def settings(self) -> dict[str, NDArray[Any]]:
        """What is fixed for the batch, by the names of the memories, each in that memory's order."""
        upper = None if self.upper is None else self.upper.transpose(1, 2, 0)
        named = ("temperature", self.temperature), ("top_k", self.top_k), ("top_p", self.top_p)
        return {name: value for name, value in (*named, ("upper", upper), ("labels", self.labels)) if value is not None}


@dataclass(frozen=True)
class LevelDraw:
    """One level of a batch, and where its codes come from: they are given, [B, h, w], or a loop draws them, whose
    controls do not set ``upper``: it is what the level above comes to.
    """

    level: Level
    source: Codes | LevelInputs


@dataclass(frozen=True)
class Row:
    """A finished row: codes [W, B] and logits [W, B, K]. Views of the loop's memory: copy what is to be kept."""

    index: int
    codes: Codes
    logits: Floats
