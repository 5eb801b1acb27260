"""The roofline of the machine: its peak rates of matrix products and of reading memory, measured."""

from __future__ import annotations

from typing import Any

from latentloop.bench.figures.result_files import new_result
from latentloop.bench.figures.text import markdown_table, quantity
from latentloop.bench.machine.bandwidth import last_level_cache, measure_bandwidth
from latentloop.bench.machine.child_process import in_child
from latentloop.bench.machine.environment import environment
from latentloop.bench.machine.gemm import measure_gemm
from latentloop.bench.machine.peaks import best


def measure(threads: int) -> dict[str, Any]:
    """Returns a result file's value: the roofline and the environment."""
    return new_result("roofline", environment(threads), **measure_roofline(threads))


def measure_roofline(threads: int) -> dict[str, Any]:
    """Returns GEMM rates and bandwidths as plain JSON types, each from its own process with ``threads`` threads."""
    return {
        "threads": threads,
        "last_level_cache_bytes": last_level_cache(),
        "gemm": in_child(measure_gemm, {"threads": threads}, threads),
        "bandwidth": in_child(measure_bandwidth, {"threads": threads}, threads),
    }


def table(roofline: dict[str, Any]) -> str:
    """Returns the measured peaks as Markdown, the fastest library and the faster kind of page first."""
    rows = []
    for kind, unit in (("float32", "FLOP/s"), ("int8", "op/s")):
        rates = roofline["gemm"][kind]
        name, rate = best(rates)
        others = ", ".join(
            f"{other} {quantity(value * 1e9, unit) if isinstance(value, (int, float)) else value}"
            for other, value in rates.items()
            if other != name
        )
        rows.append([f"{kind} GEMM", f"{quantity(rate * 1e9, unit)} ({name})", others])
    cache = roofline["last_level_cache_bytes"]
    sizes = sorted({row["bytes"] for row in roofline["bandwidth"]})
    resident = max((size for size in sizes if cache and size <= cache // 2), default=sizes[0])
    for memory, size in (("a cache", resident), ("DRAM", sizes[-1])):
        by_rate = sorted((-row["gb_s"], row["pages"]) for row in roofline["bandwidth"] if row["bytes"] == size)
        cells = [f"{pages} pages {-rate:.1f} GB/s" for rate, pages in by_rate]
        rows.append([f"read, {size >> 20} MiB, {memory}", cells[0], ", ".join(cells[1:])])
    return markdown_table(["the machine's peak rate (GEMM: matrix product)", "fastest", "others"], rows)
