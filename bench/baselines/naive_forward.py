"""The whole network for every code, timed over a few numbers of rows, on the device of the module."""

from __future__ import annotations

import time

import torch

from latentloop.bench.baselines.tensors import random_tensors
from latentloop.bench.baselines.timing import Timing
from latentloop.bench.machine.gpu_clock import synchronise
from latentloop.export.models.pixelsnail import PixelSnail

FRACTIONS = (0.0, 1.0, 0.5, 0.25)  # of the rows, in the order of timing


def time_naive(model: PixelSnail, batch: int = 1, budget: float = 60.0) -> Timing:
    """Returns a timing in which a row is W forwards over the rows up to it; one forward per row is timed."""
    c, device = model.config, model.logits.weight.device.type
    codes, upper, labels = random_tensors(c, batch, device)
    timing = Timing()
    with torch.inference_mode():
        if device != "cpu" and model.condition is not None:
            model.condition(upper)  # GPU libraries choose their kernels at the first call for a shape
        synchronise(device)
        started = time.perf_counter()
        condition = model.condition(upper) if model.condition is not None else None
        synchronise(device)
        timing.condition = time.perf_counter() - started if condition is not None else 0.0
        model.given(codes[:, :1], condition, labels)  # warm-up
        for fraction in FRACTIONS:
            row = max(1, round(fraction * c.height)) - 1
            if row in timing.rows or (timing.rows and time.perf_counter() - started > budget):
                continue
            if device != "cpu":
                model.given(codes[:, : row + 1], condition, labels)
                synchronise(device)
            begin = time.perf_counter()
            model.given(codes[:, : row + 1], condition, labels)
            synchronise(device)
            seconds = time.perf_counter() - begin
            timing.steps[row] = [seconds] * c.width
            timing.rows[row] = seconds * c.width
    return timing
