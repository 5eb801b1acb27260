"""Roofline bounds: the least time of a graph on this machine, and how much of a run it explains.

A graph's bound is the larger of two times: its FLOPs at the fastest measured GEMM rate, and the bytes of weights, keys
and values that it reads at the fastest measured rate for memory of that size.
"""

from __future__ import annotations

from dataclasses import dataclass

from latentloop.bench.machine.roofline import Peaks
from latentloop.bench.workload.arithmetic import Work

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
            return f"bound by {self.by} ({share:.0%} of the roofline)"
        return f"bound by overhead: {self.by} explains {share:.0%}"


def bound(work: Work, peaks: Peaks) -> Bound:
    """Returns the bound of one run. Products count at the float32 rate, however the weights are stored."""
    return Bound(work.flops / peaks.flops, work.read_bytes / peaks.read_rate(work.read_bytes))
