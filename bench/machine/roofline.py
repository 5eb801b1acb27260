"""The roofline: what this machine could do at most, and how much of that a graph reaches.

A graph's bound is the larger of two times: its FLOPs at the best measured GEMM rate, and the bytes of weights, keys
and values that it reads at the best measured rate for memory of that size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from latentloop.bench.machine.arithmetic import Work
from latentloop.bench.machine.bandwidth import last_level_cache, measure_bandwidth
from latentloop.bench.machine.child_process import in_child
from latentloop.bench.machine.gemm import best, measure_gemm
from latentloop.bench.report.figures import quantity

NEAR = 0.5  # at this share of its bound, the bound is what explains a time


@dataclass(frozen=True)
class Peaks:
    """float32 FLOP/s, int8 operations/s, and (bytes, bytes/s) by working set in ascending order."""

    flops: float
    int8: float
    bandwidth: tuple[tuple[float, float], ...]

    @staticmethod
    def of(roofline: dict[str, Any]) -> Peaks:
        """From what ``measure_roofline`` found: the better of both kinds of page at each size."""
        rates: dict[float, float] = {}
        for row in roofline["bandwidth"]:
            rates[row["bytes"]] = max(row["gb_s"] * 1e9, rates.get(row["bytes"], 0.0))
        gemm = roofline["gemm"]
        return Peaks(best(gemm["float32"])[1] * 1e9, best(gemm["int8"])[1] * 1e9, tuple(sorted(rates.items())))

    def read_rate(self, size: float) -> float:
        """Bytes a second for a working set of ``size`` bytes: interpolated on the logarithm of the size."""
        points = self.bandwidth
        if size <= points[0][0]:
            return points[0][1]
        for (small, fast), (large, slow) in pairwise(points):
            if size <= large:
                share = math.log(size / small) / math.log(large / small)
                return fast + share * (slow - fast)
        return points[-1][1]


@dataclass(frozen=True)
class Bound:
    """The least seconds for some work: to compute it, and to read what it needs."""

    compute: float
    read: float

    @property
    def seconds(self) -> float:
        """The larger of the two."""
        return max(self.compute, self.read)

    @property
    def by(self) -> str:
        """What the bound is due to."""
        return "arithmetic" if self.compute >= self.read else "reading weights"

    def verdict(self, seconds: float) -> str:
        """What bounds a run that took ``seconds``."""
        share = self.seconds / seconds
        if share >= NEAR:
            return f"bound by {self.by} ({share:.0%} of the roofline)"
        return f"bound by overhead: {self.by} explains {share:.0%}"


def bound(work: Work, peaks: Peaks) -> Bound:
    """The bound of one run; products run in float32, whatever the weights are stored in."""
    return Bound(work.flops / peaks.flops, work.read_bytes / peaks.read_rate(work.read_bytes))


def measure_roofline(threads: int) -> dict[str, Any]:
    """GEMM rates and bandwidths as plain JSON types, each in a process of its own with ``threads`` threads."""
    return {
        "threads": threads,
        "last_level_cache_bytes": last_level_cache(),
        "gemm": in_child("machine.gemm", measure_gemm.__name__, {"threads": threads}, threads),
        "bandwidth": in_child("machine.bandwidth", measure_bandwidth.__name__, {"threads": threads}, threads),
    }


def table(roofline: dict[str, Any]) -> str:
    """The measured peaks as Markdown."""
    lines = ["| | | |", "|---|---|---|"]
    for kind, unit in (("float32", "FLOP/s"), ("int8", "op/s")):
        rates = roofline["gemm"][kind]
        name, rate = best(rates)
        others = ", ".join(
            f"{other} {quantity(value * 1e9, unit) if isinstance(value, (int, float)) else value}"
            for other, value in rates.items()
            if other != name
        )
        lines.append(f"| {kind} GEMM | {quantity(rate * 1e9, unit)} ({name}) | {others} |")
    cache = roofline["last_level_cache_bytes"]
    sizes = sorted({row["bytes"] for row in roofline["bandwidth"]})
    resident = max((size for size in sizes if cache and size <= cache // 2), default=sizes[0])
    for where, size in (("a cache", resident), ("DRAM", sizes[-1])):
        rates = {row["pages"]: row["gb_s"] for row in roofline["bandwidth"] if row["bytes"] == size}
        cells = " | ".join(f"{pages} pages {rate:.1f} GB/s" for pages, rate in rates.items())
        lines.append(f"| read, {size >> 20} MiB, {where} | {cells} |")
    return "\n".join(lines)
