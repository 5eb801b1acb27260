"""What a GPU could do at most: its rates, measured, and the least time that they leave for rows and steps.

A graph's floor is the larger of two times: its FLOPs at the rate of a large matrix product, and its weights' bytes at
the rate of reading memory of that size again and again. What fits into the second cache is read faster than from HBM.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch

from latentloop.bench.gpu.clock import captured, full_precision, median
from latentloop.bench.machine.arithmetic import FLOAT, Work, condition_work, row_work, step_work
from latentloop.export.configuration import PriorConfig

TYPES = {"float32": torch.float32, "float16": torch.float16}
GEMM_SIZE = 8192
READ_SIZES = tuple(2**n for n in (23, 24, 25, 26, 28, 30, 32))  # bytes
READS = 20  # in one captured piece of work: the last bytes of one must not wait for the launch of the next
REPEATS = 7
BUDGET = 1.0  # seconds for one rate


@dataclass(frozen=True)
class Rates:
    """FLOP/s by type, and bytes read a second by the size of what is read, ascending."""

    flops: dict[str, float]
    read: dict[int, float]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    @staticmethod
    def from_json(values: dict[str, Any]) -> Rates:
        """What ``to_json`` gave, also after JSON has made strings of sizes."""
        return Rates(values["flops"], {int(size): rate for size, rate in values["read"].items()})

    def read_rate(self, size: float) -> float:
        """Bytes a second for a working set of that size: the rate of the next measured one below."""
        below = [known for known in self.read if known <= size]
        return self.read[max(below)] if below else self.read[min(self.read)]


def measure_rates(device: str, gemm_size: int = GEMM_SIZE, read_sizes: tuple[int, ...] = READ_SIZES) -> Rates:
    """Both kinds, measured on the device."""
    full_precision()
    flops, read = {}, {}
    for name, dtype in TYPES.items():
        a, b = (torch.randn(gemm_size, gemm_size, device=device).to(dtype) for _ in range(2))
        product = partial(torch.mm, a, b, out=torch.empty_like(a))
        flops[name] = 2 * gemm_size**3 / median(product, device, REPEATS, BUDGET)
    for size in read_sizes:
        values = torch.randn(size // 4, device=device)
        read[size] = READS * size / median(captured(partial(_sums, values), device), device, REPEATS, BUDGET)
    return Rates(flops, read)


def _sums(values: torch.Tensor) -> None:
    for _ in range(READS):
        values.sum()


@dataclass(frozen=True)
class Floor:
    """The least seconds of a batch's row, of one step, and of a whole level."""

    row: float
    step: float
    level: float


def floor(config: PriorConfig, batch: int, kind: str, columns: int, rates: Rates) -> Floor:
    """For weights of the type ``kind``, and steps of ``columns`` columns that share one reading of them."""
    scale = TYPES[kind].itemsize / FLOAT

    def least(work: Work) -> float:
        size = scale * work.read_bytes
        return max(work.flops / rates.flops[kind], size / rates.read_rate(size))

    c = config
    row = least(row_work(c, batch))
    step = least(step_work(c, batch, (c.height * c.width - 1) / 2, columns))  # linear in the position
    level = least(condition_work(c, batch)) + c.height * (row + c.width / columns * step)
    return Floor(row, step, level)
