"""The machine's roofline: its peak rates of matrix products and of reading memory, measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from latentloop.bench.figures.text import quantity
from latentloop.bench.machine.bandwidth import last_level_cache, measure_bandwidth
from latentloop.bench.machine.child_process import in_child
from latentloop.bench.machine.gemm import best, measure_gemm


@dataclass(frozen=True)
class Peaks:
    """float32 FLOP/s, int8 operations/s, and (bytes, bytes/s) by working set in ascending order."""

    flops: float
    int8: float
    bandwidth: tuple[tuple[float, float], ...]

    @staticmethod
    def of(roofline: dict[str, Any]) -> Peaks:
        """Reads the result of ``measure_roofline``; at each size the faster kind of page counts."""
        rates: dict[float, float] = {}
        for row in roofline["bandwidth"]:
            rates[row["bytes"]] = max(row["gb_s"] * 1e9, rates.get(row["bytes"], 0.0))
        gemm = roofline["gemm"]
        return Peaks(best(gemm["float32"])[1] * 1e9, best(gemm["int8"])[1] * 1e9, tuple(sorted(rates.items())))

    def read_rate(self, size: float) -> float:
        """Returns bytes per second for a working set of ``size`` bytes, interpolated on the logarithm of the size."""
        points = self.bandwidth
        if size <= points[0][0]:
            return points[0][1]
        for (small, fast), (large, slow) in pairwise(points):
            if size <= large:
                share = math.log(size / small) / math.log(large / small)
                return fast + share * (slow - fast)
        return points[-1][1]


def measure_roofline(threads: int) -> dict[str, Any]:
    """Returns GEMM rates and bandwidths as plain JSON types, each from its own process with ``threads`` threads."""
    return {
        "threads": threads,
        "last_level_cache_bytes": last_level_cache(),
        "gemm": in_child(measure_gemm, {"threads": threads}, threads),
        "bandwidth": in_child(measure_bandwidth, {"threads": threads}, threads),
    }


def table(roofline: dict[str, Any]) -> str:
    """Returns the measured peaks as Markdown."""
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
    for memory, size in (("a cache", resident), ("DRAM", sizes[-1])):
        rates = {row["pages"]: row["gb_s"] for row in roofline["bandwidth"] if row["bytes"] == size}
        cells = " | ".join(f"{pages} pages {rate:.1f} GB/s" for pages, rate in rates.items())
        lines.append(f"| read, {size >> 20} MiB, {memory} | {cells} |")
    return "\n".join(lines)
