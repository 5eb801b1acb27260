"""LatentLoop as a timed implementation, in float32 or int8: draws a level's rows in order and times every graph run."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from latentloop import Bundle
from latentloop.bench.baselines.implementation import TITLES, Codes, Inputs
from latentloop.bench.baselines.timed_backend import TimedCpuBackend
from latentloop.bench.baselines.timing import Timing
from latentloop.bench.machine.clock import elapsed
from latentloop.bench.workload.level_runs import drawing, timed_rows
from latentloop.bench.workload.part import Part, TimedLevel
from latentloop.draws.level_inputs import LevelInputs
from latentloop.errors import InputError, MissingError
from latentloop.sampling.sampler import runs_of, sampler_on


class LatentLoopSampler:
    """The sampler on the CPU with a part's bundle, at one precision."""

    batches: tuple[int, ...] | None = None

    def __init__(self, precision: str, threads: int) -> None:
        self.title = TITLES[precision]
        self.precision = precision
        self.threads = threads
        self.compile_seconds: dict[str, float] = {}
        self._prepared_batch: dict[str, int] = {}  # by level: the batch size that its loop is prepared for

    def load(self, part: Part) -> float:
        """Opens and verifies the bundle and loads the graphs that one image needs; returns seconds.

        Graphs are loaded when they first run, so their loading time is the difference between a first and a second run.
        Raises MissingError if the bundle does not have the precision.
        """
        begin = time.perf_counter()
        bundle = Bundle.open(part.bundle)
        try:
            precision = bundle.manifest.check_precision(self.precision)
        except InputError as error:
            raise MissingError(str(error)) from error
        self._backend = TimedCpuBackend(bundle, self.threads, precision)
        self.sampler = sampler_on(bundle, self._backend, self.threads, precision)
        self._prepared_batch = {}
        opened = time.perf_counter() - begin
        first, second = self._time_first_rows(part), self._time_first_rows(part)
        return opened + max(0.0, first - second)

    def time(self, level: TimedLevel, batch: int, budget: float) -> Timing:
        """Draws rows in order, from the first, as ``timed_rows`` does."""
        manifest_level = self.sampler.bundle.manifest.level(level.name)
        inputs = Inputs.random(level.config, batch)
        level_inputs = drawing(inputs.codes.shape, 0, inputs.upper, inputs.labels)
        if self._prepared_batch.get(level.name) != batch:
            for _ in runs_of(self.sampler).rows(manifest_level, level_inputs, min(2, manifest_level.height)):
                pass  # a warm-up: allocates memory and binds the inputs and outputs of the graphs
            self._prepared_batch[level.name] = batch
        timing = Timing()
        self._backend.take_seconds()
        for index, seconds in timed_rows(self.sampler, manifest_level, level_inputs, budget):
            self._add_row(timing, index, seconds)
        return timing

    def logits(self, level: TimedLevel, inputs: Inputs, rows: int) -> NDArray[np.float32]:
        """Returns the first rows' teacher-forced logits [rows, W, B, K]."""
        manifest_level = self.sampler.bundle.manifest.level(level.name)
        level_inputs = LevelInputs.forcing(inputs.codes, inputs.upper, inputs.labels)
        self._prepared_batch.pop(level.name, None)  # the sampler caches one loop per level
        return np.stack([row.logits.copy() for row in runs_of(self.sampler).rows(manifest_level, level_inputs, rows)])

    def decode(self, codes: dict[str, Codes]) -> float:
        """Decodes codes by level [N, h, w]; returns seconds."""
        return elapsed(lambda: self.sampler.decode(codes))

    def encode(self, images: NDArray[np.uint8]) -> float:
        """Encodes images [N, H, W, C]; returns seconds."""
        return elapsed(lambda: self.sampler.encode(images))

    def _add_row(self, timing: Timing, row: int, seconds: float) -> None:
        """Adds one row's graph runs to the timing. Runs of the condition graph come before the first row."""
        by_role = self._backend.take_seconds()
        condition = sum(by_role.get("condition", ()))
        timing.condition += condition
        timing.rows[row] = seconds - condition
        timing.row_graph[row] = sum(by_role.get("row", ()))
        if steps := by_role.get("step"):
            timing.steps[row] = steps

    def _time_first_rows(self, part: Part) -> float:
        """Runs one row of every level and decodes one image; returns seconds."""
        begin = time.perf_counter()
        for level in part.levels:
            self.logits(level, Inputs.random(level.config, 1), 1)
        manifest = self.sampler.bundle.manifest
        self.decode({v.name: np.zeros((1, v.height, v.width), np.int64) for v in manifest.levels})
        return time.perf_counter() - begin
