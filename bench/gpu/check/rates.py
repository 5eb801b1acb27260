"""The part of the check that measures the GPU's roofline."""

from __future__ import annotations

from latentloop.bench.gpu.check.findings import Findings
from latentloop.bench.gpu.roofline import GEMM_SIZE, READ_SIZES, measure_rates


def record_rates(
    findings: Findings, device: str, gemm_size: int = GEMM_SIZE, read_sizes: tuple[int, ...] = READ_SIZES
) -> None:
    """Measures the rates of matrix products and of reading memory."""
    findings.fact("rates", **measure_rates(device, gemm_size, read_sizes))
