"""The interface of every implementation that is timed, a baseline or LatentLoop itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from latentloop.bench.baselines.timing import Timing
from latentloop.bench.workload.part import Part, TimedLevel
from latentloop.export.configuration import PriorConfig

Codes = NDArray[np.int64]
TITLES = {  # in results and tables, by the name of the command line
    "naive": "PyTorch, the whole network for every code",
    "eager": "PyTorch eager, row and step",
    "compiled": "PyTorch torch.compile, row and step",
    "float32": "LatentLoop, float32",
    "int8": "LatentLoop, int8",
}
IMPLEMENTATIONS = tuple(TITLES)


class Implementation(Protocol):
    """One implementation of sampling. ``title`` is its row in tables; ``batches`` lists its batch sizes, None: all."""

    title: str
    batches: tuple[int, ...] | None
    compile_seconds: dict[str, float]  # by level, if compiling is a step of its own

    def load(self, part: Part) -> float:
        """Loads the part's files; returns seconds. Raises MissingError if the implementation cannot run here."""
        ...

    def time(self, level: TimedLevel, batch: int, budget: float) -> Timing:
        """Draws all rows of one level if this takes at most ``budget`` seconds, otherwise some: ``enough_rows``."""
        ...

    def logits(self, level: TimedLevel, inputs: Inputs, rows: int) -> NDArray[np.float32]:
        """Returns teacher-forced logits [rows, W, B, K] of the first rows."""
        ...

    def decode(self, codes: dict[str, Codes]) -> float:
        """Decodes codes by level [N, h, w]; returns seconds."""
        ...

    def encode(self, images: NDArray[np.uint8]) -> float:
        """Encodes images [N, H, W, C]; returns seconds."""
        ...


@dataclass(frozen=True)
class Inputs:
    """Random inputs of one level: codes [B, H, W], upper [B, H', W'] or None, labels [B] or None, all int64."""

    codes: Codes
    upper: Codes | None
    labels: Codes | None

    @staticmethod
    def random(c: PriorConfig, batch: int) -> Inputs:
        """Returns the same inputs for every implementation."""
        rng = np.random.default_rng(0)
        return Inputs(
            rng.integers(0, c.codebook_size, (batch, c.height, c.width)),
            rng.integers(0, c.condition_codes, (batch, *c.condition_grid)) if c.condition_codes else None,
            rng.integers(0, c.classes, batch) if c.classes else None,
        )
