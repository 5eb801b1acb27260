"""Roofline bounds: the least time of a graph on a processor or a GPU, and how much of a run it explains.

A graph's bound is the larger of two times: its FLOPs at the fastest measured GEMM rate, and the bytes of weights, keys
and values that it reads at the fastest measured rate for memory of that size.
"""

from __future__ import annotations

from dataclasses import dataclass

from latentloop.bench.machine.peaks import Peaks
from latentloop.bench.workload.arithmetic import DIRECT, FLOAT, Form, Work, graph_works
from latentloop.export.configuration import PriorConfig
from latentloop.kernels.element_types import ELEMENT_TYPES

EXPLAINS = 0.5  # a bound that is at least this share of a run's time explains it


@dataclass(frozen=True)
class Bound:
    """The least seconds of some work: to compute it, and to read its operands."""

    compute: float
    read: float

    @property
    def seconds(self) -> float:
        """The larger of the two."""
        return max(self.compute, self.read)

    @property
    def by(self) -> str:
        """What determines the bound."""
        return "arithmetic" if self.compute >= self.read else "reading weights"

    def verdict(self, seconds: float) -> str:
        """Returns what bounds a run that took ``seconds``."""
        share = self.seconds / seconds
        if share >= EXPLAINS:
            return f"mostly {self.by}: at this machine's best rate it alone takes {share:.0%} of the time"
        return f"mostly overhead: {self.by} at this machine's best rate takes only {share:.0%} of the time"


def bound(work: Work, peaks: Peaks, kind: str = "float32") -> Bound:
    """Returns the bound of one run, whose products and operands are of type ``kind``.

    ``work`` counts bytes in float32. A ``Form`` of float32 products can store its weights in fewer bytes.
    """
    size = work.read_bytes * ELEMENT_TYPES[kind].size / FLOAT
    return Bound(work.flops / peaks.rates[kind], size / peaks.read_rate(size))


@dataclass(frozen=True)
class LevelBound:
    """The bounds of one row, of one step at the middle of the grid, and of a whole level, in seconds for a batch."""

    row: float
    step: float
    level: float


def level_bound(
    c: PriorConfig, peaks: Peaks, batch: int = 1, columns: int = 1, form: Form = DIRECT, kind: str = "float32"
) -> LevelBound:
    """Returns the bounds for steps of ``columns`` columns, which read the weights once."""
    seconds = {role: bound(work, peaks, kind).seconds for role, work in graph_works(c, batch, columns, form).items()}
    row, step = seconds["row"], seconds["step"]
    return LevelBound(row, step, seconds["condition"] + c.height * (row + c.width / columns * step))
