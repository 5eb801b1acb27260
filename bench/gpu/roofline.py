"""The GPU's roofline, measured, and the bounds of rows, steps and levels that follow from it.

A graph's bound is the larger of two times: that of its FLOPs, at the rate of a large matrix product, and that of
reading its weights, keys and values, at the rate of reading memory of that size repeatedly. Weights that fit into the
L2 cache are read faster than from HBM.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch

from latentloop.bench.machine.gpu_clock import captured, disable_tf32, median
from latentloop.bench.workload.arithmetic import FLOAT, Work, condition_work, row_work, step_work
from latentloop.export.configuration import PriorConfig

TYPES = {"float32": torch.float32, "float16": torch.float16}
GEMM_SIZE = 8192
READ_SIZES = tuple(2**n for n in (23, 24, 25, 26, 28, 30, 32))  # bytes
READS = 20  # in one captured graph, so that the cost of launching it does not matter
REPEATS = 7
BUDGET = 1.0  # seconds for one rate


@dataclass(frozen=True)
class Rates:
    """``flops``: FLOP/s by type. ``read``: bytes per second by the size of the working set in bytes, ascending."""

    flops: dict[str, float]
    read: dict[int, float]

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON types."""
        return asdict(self)

    @staticmethod
    def from_json(values: dict[str, Any]) -> Rates:
        """Reads the result of ``to_json``, also with sizes as strings, as JSON has them."""
        return Rates(values["flops"], {int(size): rate for size, rate in values["read"].items()})

    def read_rate(self, size: float) -> float:
        """Returns bytes per second for ``size`` bytes: the rate of the largest measured size that is not larger."""
        below = [measured for measured in self.read if measured <= size]
        return self.read[max(below)] if below else self.read[min(self.read)]


def measure_rates(device: str, gemm_size: int = GEMM_SIZE, read_sizes: tuple[int, ...] = READ_SIZES) -> Rates:
    """Measures the FLOP/s of matrix products and the rates of reading memory on the device."""
    disable_tf32()
    flops, read = {}, {}
    for name, dtype in TYPES.items():
        a, b = (torch.randn(gemm_size, gemm_size, device=device).to(dtype) for _ in range(2))
        product = partial(torch.mm, a, b, out=torch.empty_like(a))
        flops[name] = 2 * gemm_size**3 / median(product, device, REPEATS, BUDGET)
    for size in read_sizes:
        values = torch.randn(size // 4, device=device)
        read[size] = READS * size / median(captured(partial(_read_repeatedly, values), device), device, REPEATS, BUDGET)
    return Rates(flops, read)


def _read_repeatedly(values: torch.Tensor) -> None:
    """Reads the values ``READS`` times, by summing them."""
    for _ in range(READS):
        values.sum()


@dataclass(frozen=True)
class LevelBound:
    """Lower bounds of the time of one row, one step and a whole level, in seconds for a batch."""

    row: float
    step: float
    level: float


def level_bound(config: PriorConfig, batch: int, kind: str, columns: int, rates: Rates) -> LevelBound:
    """Returns the bounds for weights of type ``kind`` and steps of ``columns`` columns, which read the weights once."""
    scale = TYPES[kind].itemsize / FLOAT

    def seconds(work: Work) -> float:
        size = scale * work.read_bytes
        return max(work.flops / rates.flops[kind], size / rates.read_rate(size))

    c = config
    row = seconds(row_work(c, batch))
    step = seconds(step_work(c, batch, (c.height * c.width - 1) / 2, columns))  # the work is linear in the position
    level = seconds(condition_work(c, batch)) + c.height * (row + c.width / columns * step)
    return LevelBound(row, step, level)
