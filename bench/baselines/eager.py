"""The baseline in PyTorch eager that runs row and step."""

from __future__ import annotations

import time

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentloop.bench.baselines.implementation import TITLES, Inputs
from latentloop.bench.baselines.tensors import random_tensors, tensors_of
from latentloop.bench.baselines.timing import Timing
from latentloop.bench.baselines.torch_codec import TorchCodec
from latentloop.bench.baselines.torch_rowstep import TorchFixed, TorchRowStep, TorchState
from latentloop.bench.figures.fits import enough_rows
from latentloop.bench.workload.models import load_vqvae
from latentloop.bench.workload.part import Part, TimedLevel
from latentloop.export.checkpoints.checkpoint import load_checkpoint
from latentloop.export.specification.rowstep_weights import arrange


class EagerPyTorch(TorchCodec):
    """PyTorch eager, row and step."""

    title = TITLES["eager"]
    batches: tuple[int, ...] | None = None

    def __init__(self) -> None:
        self.compile_seconds: dict[str, float] = {}
        self.models: dict[str, TorchRowStep] = {}
        self._states: dict[str, tuple[int, TorchState, TorchFixed]] = {}  # by level: batch, state, per-image terms

    def load(self, part: Part) -> float:
        """Loads the checkpoints and arranges their weights; returns seconds."""
        begin = time.perf_counter()
        self.models, self._states = {}, {}
        for level in part.levels:
            weights = load_checkpoint(part.checkpoint(level.name)).weights
            self.models[level.name] = self.prepare(TorchRowStep(arrange(level.config, weights, np.float32)))
        self.vqvae = load_vqvae(part)
        return time.perf_counter() - begin

    def time(self, level: TimedLevel, batch: int, budget: float) -> Timing:
        """Times rows spread over the grid until ``enough_rows``: the first, the last, then rows between them."""
        model, c = self.models[level.name], level.config
        _, upper, labels = random_tensors(c, batch)
        uniform, forced = torch.rand(c.width, batch), torch.full((c.width, batch), -1)
        with torch.inference_mode():
            self.warm_up(level.name, batch, upper, labels)
            begin = started = time.perf_counter()
            fixed = model.condition(upper, labels)
            timing = Timing(condition=time.perf_counter() - begin)
            state = self._states[level.name][1]
            for i in spread(c.height):
                times = [time.perf_counter()]
                terms = model.begin_row(state, fixed, i)
                times.append(time.perf_counter())
                for j in range(c.width):
                    model.step(state, fixed, terms, (i, j), uniform[j], forced[j])
                    times.append(time.perf_counter())
                row_graph, *steps = np.diff(times).tolist()
                timing.rows[i] = times[-1] - times[0]
                timing.row_graph[i], timing.steps[i] = row_graph, steps
                if enough_rows(len(timing.rows), c.height, time.perf_counter() - started, budget):
                    break
        return timing

    def logits(self, level: TimedLevel, inputs: Inputs, rows: int) -> NDArray[np.float32]:
        """Returns the first rows' teacher-forced logits [rows, W, B, K]."""
        model, c = self.models[level.name], level.config
        codes, upper, labels = tensors_of(inputs)
        forced = codes.permute(1, 2, 0).contiguous()
        logits = np.empty((rows, c.width, len(inputs.codes), c.codebook_size), np.float32)
        with torch.inference_mode():
            state = model.start(len(inputs.codes))
            fixed = model.condition(upper, labels)
            for i in range(rows):
                terms = model.begin_row(state, fixed, i)
                for j in range(c.width):
                    uniform = torch.zeros(len(inputs.codes))
                    logits[i, j] = model.step(state, fixed, terms, (i, j), uniform, forced[i, j]).logits.numpy()
        return logits

    def prepare(self, model: TorchRowStep) -> TorchRowStep:
        """Returns the model that runs; a subclass may compile its functions."""
        return model

    def warm_up(self, level: str, batch: int, upper: Tensor | None, labels: Tensor | None) -> None:
        """Allocates the state for this batch and draws a few columns, unless the state exists from another round."""
        if level in self._states and self._states[level][0] == batch:
            return
        self._states.pop(level, None)  # before the next allocation: both may not fit
        model = self.models[level]
        c, state, fixed = model.config, model.start(batch), model.condition(upper, labels)
        for i in {0, min(1, c.height - 1), c.height - 1}:
            terms = model.begin_row(state, fixed, i)
            for j in range(min(c.width, 4)):
                model.step(state, fixed, terms, (i, j), torch.rand(batch), torch.full((batch,), -1))
        self._states[level] = (batch, state, fixed)


def spread(height: int) -> list[int]:
    """Returns every row once: the first, the last, the middle, the quarters, and so on."""
    order, gap = [0, height - 1], height - 1
    while gap > 1:
        gap = (gap + 1) // 2
        order += range(0, height, gap)
    return list(dict.fromkeys([*order, *range(height)]))
