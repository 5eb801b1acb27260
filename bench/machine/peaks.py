"""The peak rates of a processor or a GPU, read from measurements: the basis of every roofline bound."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any


@dataclass(frozen=True)
class Peaks:
    """Operations per second by type, and (bytes, bytes/s) by working set in ascending order."""

    rates: dict[str, float]
    bandwidth: tuple[tuple[float, float], ...]

    @staticmethod
    def of(roofline: dict[str, Any]) -> Peaks:
        """Reads the result of ``measure_roofline``; at each size the faster kind of page counts."""
        rates: dict[float, float] = {}
        for row in roofline["bandwidth"]:
            rates[row["bytes"]] = max(row["gb_s"] * 1e9, rates.get(row["bytes"], 0.0))
        gemm = {kind: best(by_library)[1] * 1e9 for kind, by_library in roofline["gemm"].items()}
        return Peaks(gemm, tuple(sorted(rates.items())))

    @staticmethod
    def of_gpu(rates: dict[str, Any]) -> Peaks:
        """Reads the result of ``bench.gpu.roofline.measure_rates``, also with sizes as strings, as JSON has them."""
        return Peaks(rates["flops"], tuple(sorted((int(size), rate) for size, rate in rates["read"].items())))

    @property
    def flops(self) -> float:
        """FLOP/s in float32."""
        return self.rates["float32"]

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


def best(rates: dict[str, float | str]) -> tuple[str, float]:
    """Returns the fastest library and its rate; ("none", 0) if no library works. Reasons in ``rates`` are skipped."""
    working = {name: rate for name, rate in rates.items() if isinstance(rate, (int, float))}
    name = max(working, key=lambda name: working[name], default="none")
    return name, working.get(name, 0.0)
