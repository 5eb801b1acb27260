"""The baseline that users have today: the whole network for every code, over the rows drawn so far.

This is how the common PyTorch implementation samples. A large image takes hours on a CPU. Then forwards over a few
numbers of rows are timed and the rest is extrapolated: a forward's cost grows with the rows that it sees.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from numpy.typing import NDArray

from latentloop.bench.baselines.implementation import TITLES, Inputs
from latentloop.bench.baselines.naive_forward import time_naive
from latentloop.bench.baselines.tensors import tensors_of
from latentloop.bench.baselines.timing import Timing
from latentloop.bench.baselines.torch_codec import TorchCodec
from latentloop.bench.workload.models import load_prior, load_vqvae
from latentloop.bench.workload.part import Part, TimedLevel
from latentloop.export.models.pixelsnail import PixelSnail


class NaivePyTorch(TorchCodec):
    """PyTorch eager, one parallel forward per code. The condition is computed once per image, as users do."""

    title = TITLES["naive"]
    batches: tuple[int, ...] | None = (1,)

    def __init__(self) -> None:
        self.compile_seconds: dict[str, float] = {}
        self.models: dict[str, PixelSnail] = {}

    def load(self, part: Part) -> float:
        """Builds the modules from their checkpoints; returns seconds."""
        begin = time.perf_counter()
        self.models = {level.name: load_prior(part, level) for level in part.levels}
        self.vqvae = load_vqvae(part)
        return time.perf_counter() - begin

    def time(self, level: TimedLevel, batch: int, budget: float) -> Timing:
        """Times every forward, or a few of them if all would take longer than ``budget`` seconds."""
        return time_naive(self.models[level.name], batch, budget)

    def logits(self, level: TimedLevel, inputs: Inputs, rows: int) -> NDArray[np.float32]:
        """Returns the first rows' logits [rows, W, B, K] from one forward."""
        codes, upper, labels = tensors_of(inputs)
        with torch.inference_mode():
            output = self.models[level.name](codes[:, :rows], upper, labels)
        logits: NDArray[np.float32] = output.permute(2, 3, 0, 1).numpy()
        return logits
