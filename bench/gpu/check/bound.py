"""What this GPU can do at most, measured."""

from __future__ import annotations

from latentloop.bench.gpu.bound import GEMM_SIZE, READ_SIZES, measure_rates
from latentloop.bench.gpu.check.part import Findings


def run(findings: Findings, device: str, gemm_size: int = GEMM_SIZE, read_sizes: tuple[int, ...] = READ_SIZES) -> None:
    """The part."""
    findings.fact("rates", **measure_rates(device, gemm_size, read_sizes).to_json())
