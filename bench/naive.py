"""The peer that users have today: the whole network once more for every code, over the rows drawn so far.

This is how the common PyTorch implementation samples. An image takes an hour on a CPU, so forwards over a few
numbers of rows are timed and the rest extrapolated: a forward's cost grows with the rows that it sees.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from latentloop.bench.models import load_prior, load_vqvae
from latentloop.bench.parts import Part, TimedLevel
from latentloop.bench.peers import PEER_NAMES, Inputs, Timing
from latentloop.bench.torch_peer import TorchCodec
from latentloop.export.models.pixelsnail import PixelSnail

FRACTIONS = (0.0, 1.0, 0.5, 0.25)  # of the rows, in the order in which they are timed


class NaivePeer(TorchCodec):
    """PyTorch eager, one parallel forward a code. The condition is computed once per image, as users do."""

    name = PEER_NAMES["naive"]
    batches: tuple[int, ...] | None = (1,)

    def __init__(self) -> None:
        self.compile_seconds: dict[str, float] = {}
        self.models: dict[str, PixelSnail] = {}

    def load(self, part: Part) -> float:
        """Builds the modules from their checkpoints."""
        begin = time.perf_counter()
        self.models = {level.name: load_prior(part, level) for level in part.levels}
        self.vqvae = load_vqvae(part)
        return time.perf_counter() - begin

    def time(self, level: TimedLevel, batch: int, budget: float) -> Timing:
        """Times forwards over 1, all, half and a quarter of the rows, as far as the budget goes."""
        return time_naive(self.models[level.name], batch, budget)

    def logits(self, level: TimedLevel, inputs: Inputs, rows: int) -> NDArray[np.float32]:
        """One forward over the first rows."""
        model = self.models[level.name]
        arrays = (inputs.codes[:, :rows], inputs.upper, inputs.labels)
        with torch.inference_mode():
            found = model(*(None if array is None else torch.from_numpy(array) for array in arrays))
        logits: NDArray[np.float32] = found.permute(2, 3, 0, 1).numpy()
        return logits


def time_naive(
    model: PixelSnail, batch: int = 1, budget: float = 60.0, fractions: Sequence[float] = FRACTIONS
) -> Timing:
    """Each timed row of the grid as W forwards over the rows up to it."""
    c = model.config
    rng = np.random.default_rng(0)
    codes = torch.from_numpy(rng.integers(0, c.codebook_size, (batch, c.height, c.width)))
    above = rng.integers(0, max(1, c.condition_codes), (batch, *c.condition_grid))
    upper = torch.from_numpy(above) if c.condition_codes else None
    labels = torch.zeros(batch, dtype=torch.int64) if c.classes else None
    timing = Timing()
    started = time.perf_counter()
    with torch.inference_mode():
        condition = model.condition(upper) if model.condition is not None else None
        timing.condition = time.perf_counter() - started if condition is not None else 0.0
        model.given(codes[:, :1], condition, labels)  # warms up
        for fraction in fractions:
            row = max(1, round(fraction * c.height)) - 1
            begin = time.perf_counter()
            if row in timing.rows or (timing.rows and begin - started > budget):
                continue
            model.given(codes[:, : row + 1], condition, labels)
            seconds = time.perf_counter() - begin
            timing.steps[row] = [seconds] * c.width
            timing.rows[row] = seconds * c.width
    return timing
