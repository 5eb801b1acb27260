"""Read bandwidth by working set, from the nearest cache to DRAM, on ordinary and on huge pages.

A step reads its weights once, so its bound is the rate at which memory of that size can be read, again and again.
NumPy asks for huge pages for large arrays; what ONNX Runtime or `malloc` map does not, hence both kinds.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

LARGEST = 512 * 2**20  # bytes; several times any cache of today
SMALLEST = 2**20
SECONDS = 0.15  # per size, page kind and way of reading


def measure_bandwidth(threads: int, largest: int = LARGEST, seconds: float = SECONDS) -> list[dict[str, Any]]:
    """Rows of {pages, bytes, gb_s, by}: the best rate of several ways of reading, in 1e9 bytes a second."""
    torch.set_num_threads(threads)
    found = []
    for pages, advice in (("ordinary", "MADV_NOHUGEPAGE"), ("huge", "MADV_HUGEPAGE")):
        if not hasattr(mmap, advice):
            continue  # not Linux
        memory = mmap.mmap(-1, largest)
        memory.madvise(getattr(mmap, advice))
        array = np.frombuffer(memory, np.float32)
        array[:] = 1  # touched after the advice: this is when pages are made
        size = SMALLEST
        while size <= largest:
            rates = {name: _rate(read, size, seconds) for name, read in _ways(array[: size // 4]).items()}
            best = max(rates, key=lambda name: rates[name])
            found.append({"pages": pages, "bytes": size, "gb_s": rates[best] / 1e9, "by": best})
            size *= 2
    return found


def last_level_cache() -> int | None:
    """Bytes of the largest cache that the first processor sees, None where the system does not say."""
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text(encoding="ascii").strip()
        unit = {"K": 2**10, "M": 2**20}.get(text[-1:])
        if unit:
            sizes.append(int(text[:-1]) * unit)
    return max(sizes, default=None)


def _ways(array: np.ndarray) -> dict[str, Callable[[], object]]:
    """A matrix times a vector is what a step does; plain sums may read faster."""
    matrix = array.reshape(-1, 1024)
    tensor, vector = torch.from_numpy(matrix), np.ones(1024, np.float32)
    other = torch.from_numpy(vector)
    out, tensor_out = np.empty(len(matrix), np.float32), torch.empty(len(matrix))
    return {
        "torch sum": lambda: tensor.sum(),
        "torch matrix x vector": lambda: torch.mv(tensor, other, out=tensor_out),
        "NumPy matrix x vector": lambda: np.dot(matrix, vector, out=out),
    }


def _rate(read: Callable[[], object], size: int, seconds: float) -> float:
    """Bytes a second of the fastest pass: slower ones had company."""
    read()
    best, until = float("inf"), time.perf_counter() + seconds
    while True:
        begin = time.perf_counter()
        read()
        end = time.perf_counter()
        best = min(best, end - begin)
        if end > until:
            return size / best
