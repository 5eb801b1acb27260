"""The GPU's roofline, measured: the rates of large matrix products, and of reading memory of a size repeatedly.

Weights that fit into the L2 cache are read faster than from HBM.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from latentloop.bench.machine.gpu_clock import captured, disable_tf32, median

TYPES = {"float32": torch.float32, "float16": torch.float16}
GEMM_SIZE = 8192
READ_SIZES = tuple(2**n for n in (23, 24, 25, 26, 28, 30, 32))  # bytes
READS = 20  # in one captured graph, so that the cost of launching it does not matter
REPEATS = 7
BUDGET = 1.0  # seconds for one rate

Rates = dict[str, Any]  # plain JSON types


def measure_rates(device: str, gemm_size: int = GEMM_SIZE, read_sizes: tuple[int, ...] = READ_SIZES) -> Rates:
    """Returns ``flops``: FLOP/s of matrix products by type, and ``read``: bytes/s by the bytes of the working set."""
    disable_tf32()
    flops: dict[str, float] = {}
    read: dict[int, float] = {}
    for name, dtype in TYPES.items():
        a, b = (torch.randn(gemm_size, gemm_size, device=device).to(dtype) for _ in range(2))
        product = partial(torch.mm, a, b, out=torch.empty_like(a))
        flops[name] = 2 * gemm_size**3 / median(product, device, REPEATS, BUDGET)
    for size in read_sizes:
        values = torch.randn(size // 4, device=device)
        read[size] = READS * size / median(captured(partial(_read_repeatedly, values), device), device, REPEATS, BUDGET)
    return {"flops": flops, "read": read}


def _read_repeatedly(values: torch.Tensor) -> None:
    """Reads the values ``READS`` times, by summing them."""
    for _ in range(READS):
        values.sum()
