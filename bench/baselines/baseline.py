"""What a peer is, what it reports of one level, and how whole images follow from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from latentloop.bench.report.figures import whole
from latentloop.bench.sampling.parts import Part, TimedLevel
from latentloop.errors import LatentLoopError

Codes = NDArray[np.int64]
PEER_NAMES = {
    "naive": "PyTorch, the whole network for every code",
    "eager": "PyTorch eager, row and step",
    "compiled": "PyTorch torch.compile, row and step",
    "float32": "LatentLoop, float32",
    "int8": "LatentLoop, int8",
}
PEERS = tuple(PEER_NAMES)
AGREEMENT = 1e-3  # largest difference of float32 logits, as a share of their standard deviation


@dataclass
class Timing:
    """Seconds of some rows of one level in one round, for a batch of images.

    ``rows`` holds whole rows by index, as a clock saw them; ``row_graph`` and ``steps`` the parts of them that were
    timed alone, a step's for all its columns. What is left is the host's.
    """

    condition: float = 0.0
    rows: dict[int, float] = field(default_factory=dict)
    row_graph: dict[int, float] = field(default_factory=dict)
    steps: dict[int, list[float]] = field(default_factory=dict)

    def columns(self, width: int) -> int:
        """Columns a step, from the number of steps that a row of ``width`` took."""
        return next((width // len(steps) for steps in self.steps.values()), 1)

    def host(self, row: int) -> float:
        """What a row took beside its graphs."""
        return self.rows[row] - self.row_graph.get(row, 0.0) - sum(self.steps.get(row, ()))


@dataclass(frozen=True)
class Scale:
    """How many times longer the full level's graphs take than the timed one's: 1 where they are the same."""

    condition: float = 1.0
    row: float = 1.0
    step: float = 1.0
    why: str = ""


def level_seconds(timing: Timing, height: int, scale: Scale) -> tuple[float, str]:
    """Seconds of a whole level for a batch, and how they were extrapolated, if they were."""
    rows = {
        i: timing.host(i) + scale.row * timing.row_graph.get(i, 0.0) + scale.step * sum(timing.steps.get(i, ()))
        for i in timing.rows
    }
    seconds, text = whole(rows, height)
    return timing.condition * scale.condition + seconds, "; ".join(filter(None, (text, scale.why)))


class Peer(Protocol):
    """One way to sample. ``name`` is its row of the table; ``batches`` the batch sizes that it is timed at, or all."""

    name: str
    batches: tuple[int, ...] | None
    compile_seconds: dict[str, float]  # by level and batch, where compiling is a step of its own

    def load(self, part: Part) -> float:
        """Reads the part's files until it can draw; returns seconds. Raises MissingError where it cannot run here."""
        ...

    def time(self, level: TimedLevel, batch: int, budget: float) -> Timing:
        """Draws rows until all are drawn or ``budget`` seconds are over, at least one."""
        ...

    def logits(self, level: TimedLevel, inputs: Inputs, rows: int) -> NDArray[np.float32]:
        """Teacher-forced logits [rows, W, B, K] of the first rows."""
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
    def random(level: TimedLevel, batch: int, seed: int = 0) -> Inputs:
        """The same for every peer."""
        c, rng = level.config, np.random.default_rng(seed)
        return Inputs(
            rng.integers(0, c.codebook_size, (batch, c.height, c.width)),
            rng.integers(0, c.condition_codes, (batch, *c.condition_grid)) if c.condition_codes else None,
            rng.integers(0, c.classes, batch) if c.classes else None,
        )


def agreement(peers: Iterable[Peer], part: Part, rows: int = 2, batch: int = 1) -> dict[str, Any]:
    """Each peer's largest difference to the first one's logits, as a share of their standard deviation.

    Raises LatentLoopError for a float32 peer that computes something else: its speed would mean nothing.
    """
    found: dict[str, float] = {}
    for level in part.levels:
        inputs = Inputs.random(level, batch)
        expected = None
        for peer in peers:
            logits = peer.logits(level, inputs, min(rows, level.config.height))
            if expected is None:
                expected = logits
            difference = float(np.abs(logits - expected).max() / expected.std())
            found[peer.name] = max(difference, found.get(peer.name, 0.0))
            if not difference <= AGREEMENT and "int8" not in peer.name:
                raise LatentLoopError(
                    f"{peer.name}: logits of {level.name} differ by {difference:.2g} standard deviations, expected "
                    f"{AGREEMENT} at most: it does not compute the same model, so it was not timed"
                )
    return found
