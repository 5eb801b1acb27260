"""Peak memory of one implementation, measured in a process that runs nothing else."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np

from latentloop.bench.baselines.registry import create
from latentloop.bench.machine.memory import peak, reset_peak
from latentloop.bench.workload.part import Part


def peak_memory(name: str, folder: str, threads: int) -> dict[str, Any]:
    """Returns the peak of resident bytes while an implementation draws a few rows of every level and decodes one image.

    Loading holds the weights twice for a while, so it is left out if the system can reset the peak; the result says
    in ``without_loading`` whether it could.
    """
    part, implementation = Part.open(Path(folder)), create(name, threads)
    implementation.load(part)
    gc.collect()
    without_loading = reset_peak()
    for level in part.levels:
        implementation.time(level, 1, 0.0)
    implementation.decode({level: np.zeros((1, *grid), np.int64) for level, grid in part.grids.items()})
    return {"bytes": peak(), "without_loading": without_loading}
