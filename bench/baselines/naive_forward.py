"""The whole network for every code, timed over all rows or over a few, on the device of the module."""

from __future__ import annotations

import time

import torch

from latentloop.bench.baselines.tensors import random_tensors
from latentloop.bench.baselines.timing import Timing, level_seconds
from latentloop.bench.figures.fits import FEWEST
from latentloop.bench.machine.gpu_clock import synchronise
from latentloop.export.models.pixelsnail import PixelSnail

FRACTIONS = (0.0, 1.0, 0.5, 0.25)  # of the rows, in the order of timing
ONE_FORWARD = "one of the forwards of each row timed"


def time_naive(model: PixelSnail, batch: int = 1, budget: float = 5.0) -> Timing:
    """Returns a timing in which a row is W forwards over the rows up to it.

    One forward is timed over 1, all, half and a quarter of the rows: at least three of these, as many as ``budget``
    seconds allow. If they show that the level takes at most ``budget`` seconds, every forward of every row is timed.
    """
    c, device = model.config, model.logits.weight.device.type
    codes, upper, labels = random_tensors(c, batch, device)
    timing = Timing(note=ONE_FORWARD)
    with torch.inference_mode():
        if device != "cpu" and model.condition is not None:
            model.condition(upper)  # GPU libraries choose their kernels at the first call for a shape
        synchronise(device)
        started = time.perf_counter()
        condition = model.condition(upper) if model.condition is not None else None
        synchronise(device)
        timing.condition = time.perf_counter() - started if condition is not None else 0.0

        def forward(row: int) -> float:
            begin = time.perf_counter()
            model.given(codes[:, : row + 1], condition, labels)
            synchronise(device)
            return time.perf_counter() - begin

        model.given(codes[:, :1], condition, labels)  # warm-up
        for row in dict.fromkeys(max(1, round(fraction * c.height)) - 1 for fraction in FRACTIONS):
            if len(timing.rows) >= FEWEST and time.perf_counter() - started > budget:
                break
            if device != "cpu":
                forward(row)
            _add_row(timing, row, [forward(row)] * c.width)
        if level_seconds(timing, c.height)[0] <= budget:
            timing.note = ""
            for row in range(c.height):
                if device != "cpu":
                    forward(row)
                _add_row(timing, row, [forward(row) for _ in range(c.width)])
    return timing


def _add_row(timing: Timing, row: int, forwards: list[float]) -> None:
    timing.steps[row], timing.rows[row] = forwards, sum(forwards)
