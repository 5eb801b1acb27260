"""Peak memory of one peer, in a process that does nothing else."""

from __future__ import annotations

import gc
import re
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np

from latentloop.bench.baselines.by_name import make_peer
from latentloop.bench.baselines.timed_calls import CallClock
from latentloop.bench.sampling.parts import Part


def peak_memory(kind: str, folder: str, threads: int) -> dict[str, Any]:
    """Bytes resident at most while a loaded peer draws one row of every level and decodes an image, batch 1.

    Loading is left out where the system can reset its high-water mark: arranging weights holds them twice.
    """
    part, peer = Part.open(Path(folder)), make_peer(kind, threads, CallClock())
    peer.load(part)
    gc.collect()
    reset = reset_peak()
    for level in part.levels:
        peer.time(level, 1, 0.0)
    peer.decode({name: np.zeros((1, *grid), np.int64) for name, grid in part.grids.items()})
    return {"bytes": peak(), "without_loading": reset}


def reset_peak() -> bool:
    """Starts the high-water mark again from what is resident now; False where the system cannot."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def peak() -> int:
    """Bytes resident at most since ``reset_peak``."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]
    except (OSError, TypeError):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
