"""Read bandwidth by working set, from the nearest cache to DRAM, on ordinary and on huge pages.

A step reads its weights once, so its bound is the rate at which memory of that size can be read repeatedly.
NumPy requests huge pages for large arrays, ONNX Runtime and `malloc` do not: hence both kinds of page.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latentloop.bench.machine.clock import fastest

LARGEST = 512 * 2**20  # bytes; several times the largest caches
SMALLEST = 2**20
SECONDS = 0.15  # per size, kind of page and method of reading


def measure_bandwidth(threads: int, largest: int = LARGEST, seconds: float = SECONDS) -> list[dict[str, Any]]:
    """Returns rows of {pages, bytes, gb_s, by}: the best rate in 1e9 bytes/s, and the method that reached it."""
    torch.set_num_threads(threads)
    rows = []
    for pages, advice in (("ordinary", "MADV_NOHUGEPAGE"), ("huge", "MADV_HUGEPAGE")):
        if not hasattr(mmap, advice):
            continue  # not Linux
        memory = mmap.mmap(-1, largest)
        memory.madvise(getattr(mmap, advice))
        array = np.frombuffer(memory, np.float32)
        array[:] = 1  # written after the advice: pages are allocated at the first write
        size = SMALLEST
        while size <= largest:
            methods = _read_methods(array[: size // 4])
            rates = {name: size / fastest(read, seconds) for name, read in methods.items()}
            best = max(rates, key=lambda name: rates[name])
            rows.append({"pages": pages, "bytes": size, "gb_s": rates[best] / 1e9, "by": best})
            size *= 2
    return rows


def last_level_cache() -> int | None:
    """Returns the bytes of the first processor's largest cache, or None if the system does not report it."""
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text(encoding="ascii").strip()
        unit = {"K": 2**10, "M": 2**20}.get(text[-1:])
        if unit:
            sizes.append(int(text[:-1]) * unit)
    return max(sizes, default=None)


def _read_methods(array: np.ndarray) -> dict[str, Callable[[], object]]:
    """Returns calls that read the whole array: the matrix-vector product of a step, and a sum, which can be faster."""
    matrix = array.reshape(-1, 1024)
    tensor, vector = torch.from_numpy(matrix), np.ones(1024, np.float32)
    tensor_vector = torch.from_numpy(vector)
    out, tensor_out = np.empty(len(matrix), np.float32), torch.empty(len(matrix))
    return {
        "torch sum": lambda: tensor.sum(),
        "torch matrix x vector": lambda: torch.mv(tensor, tensor_vector, out=tensor_out),
        "NumPy matrix x vector": lambda: np.dot(matrix, vector, out=out),
    }
