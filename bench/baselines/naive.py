"""The peer that users have today: the whole network once more for every code, over the rows drawn so far.

This is how the common PyTorch implementation samples. An image takes an hour on a CPU, so forwards over a few
numbers of rows are timed and the rest extrapolated: a forward's cost grows with the rows that it sees.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from numpy.typing import NDArray

from latentloop.bench.baselines.baseline import PEER_NAMES, Inputs, Timing
from latentloop.bench.baselines.naive_forward import time_naive
from latentloop.bench.baselines.torch_baseline import TorchCodec
from latentloop.bench.sampling.models import load_prior, load_vqvae
from latentloop.bench.sampling.parts import Part, TimedLevel
from latentloop.export.models.pixelsnail import PixelSnail


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
