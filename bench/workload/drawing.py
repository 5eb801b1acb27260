"""The inputs of a loop that draws every code of a level, for timing it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from latentloop.draws.level_inputs import LevelInputs
from latentloop.draws.uniforms import uniforms

Codes = NDArray[np.int64]


def drawing(shape: tuple[int, int, int], index: int, upper: Codes | None, labels: Codes | None) -> LevelInputs:
    """Returns the inputs for codes [B, H, W] of level ``index``, drawn with the seeds 0 to B - 1 at temperature 1."""
    batch, height, width = shape
    inputs = LevelInputs.forcing(np.full(shape, -1), upper, labels)  # -1: the code is drawn
    return replace(inputs, uniform=uniforms(np.arange(batch, dtype=np.uint64), index, height, width))
