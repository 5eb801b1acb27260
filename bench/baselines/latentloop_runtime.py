"""LatentLoop as a peer, in float32 and int8: every row of a level in order, each graph call clocked."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from latentloop import Bundle, Sampler
from latentloop.bench.baselines.baseline import PEER_NAMES, Codes, Inputs, Timing
from latentloop.bench.baselines.timed_calls import CallClock
from latentloop.bench.sampling.parts import Part, TimedLevel
from latentloop.draws.level_inputs import LevelInputs
from latentloop.draws.uniforms import uniforms
from latentloop.errors import InputError, MissingError


class LatentLoopPeer:
    """The sampler over the part's bundle, at one precision."""

    batches: tuple[int, ...] | None = None

    def __init__(self, precision: str, threads: int, clock: CallClock) -> None:
        self.name = PEER_NAMES[precision]
        self.precision = precision
        self.threads = threads
        self.clock = clock
        self.compile_seconds: dict[str, float] = {}
        self._warm: dict[str, int] = {}  # the batch size that each level's loop was made for

    def load(self, part: Part) -> float:
        """Opens and verifies the bundle and loads the graphs that one image needs.

        Loading is what a first run of one row takes longer than a second one. Raises MissingError where the
        bundle does not have the precision.
        """
        begin = time.perf_counter()
        bundle = Bundle.open(part.bundle)
        try:
            self.sampler = Sampler(bundle, threads=self.threads, precision=self.precision)
        except InputError as error:
            raise MissingError(str(error)) from error
        self._warm = {}
        opened = time.perf_counter() - begin
        first, second = self._touch(part), self._touch(part)
        return opened + max(0.0, first - second)

    def time(self, level: TimedLevel, batch: int, budget: float) -> Timing:
        """Draws rows in order from the first."""
        described = self.sampler.bundle.manifest.level(level.name)
        inputs = Inputs.random(level, batch)
        level_inputs = self._controls(level, inputs, np.full_like(inputs.codes, -1))
        if self._warm.get(level.name) != batch:
            for _ in self.sampler.rows(described, level_inputs, min(2, described.height)):
                pass  # makes the memory, and prepares calls
            self._warm[level.name] = batch
        timing = Timing()
        self.clock.take()
        begin = started = time.perf_counter()
        rows = self.sampler.rows(described, level_inputs)
        for row in rows:
            now = time.perf_counter()
            self._add(timing, row.index, now - begin)
            begin = time.perf_counter()
            if begin - started > budget:
                break
        rows.close()  # type: ignore[attr-defined]  # an iterator, in fact a generator: it releases the sampler
        return timing

    def logits(self, level: TimedLevel, inputs: Inputs, rows: int) -> NDArray[np.float32]:
        """The first rows, teacher-forced."""
        described = self.sampler.bundle.manifest.level(level.name)
        level_inputs = self._controls(level, inputs, inputs.codes)
        self._warm.pop(level.name, None)  # the sampler keeps one loop per level
        return np.stack([row.logits.copy() for row in self.sampler.rows(described, level_inputs, rows)])

    def decode(self, codes: dict[str, Codes]) -> float:
        """Seconds to decode codes by level [N, h, w]."""
        begin = time.perf_counter()
        self.sampler.decode(codes)
        return time.perf_counter() - begin

    def encode(self, images: NDArray[np.uint8]) -> float:
        """Seconds to encode images [N, H, W, C]."""
        begin = time.perf_counter()
        self.sampler.encode(images)
        return time.perf_counter() - begin

    def _add(self, timing: Timing, row: int, seconds: float) -> None:
        """One row's calls, sorted by what they are; the first row's begin with the condition."""
        by_role: dict[str, list[float]] = {}
        for call in self.clock.take():
            by_role.setdefault(role(call.file), []).append(call.seconds)
        condition = sum(by_role.get("condition", ()))
        timing.condition += condition
        timing.rows[row] = seconds - condition
        timing.row_graph[row] = sum(by_role.get("row", ()))
        if steps := by_role.get("step"):
            timing.steps[row] = steps

    def _touch(self, part: Part) -> float:
        """Seconds of one row of every level and one decoded image."""
        begin = time.perf_counter()
        for level in part.levels:
            self.logits(level, Inputs.random(level, 1), 1)
        manifest = self.sampler.bundle.manifest
        self.decode({v.name: np.zeros((1, v.height, v.width), np.int64) for v in manifest.levels})
        return time.perf_counter() - begin

    def _controls(self, level: TimedLevel, inputs: Inputs, forced: Codes) -> LevelInputs:
        batch, c = len(inputs.codes), level.config
        return LevelInputs(
            uniform=uniforms(np.arange(batch, dtype=np.uint64), 0, c.height, c.width),
            forced=forced.transpose(1, 2, 0),
            temperature=np.ones(batch, np.float32),
            upper=inputs.upper,
            labels=inputs.labels,
        )


def role(file: str) -> str:
    """``bottom.step_filtered.onnx`` is a step: the name's second part up to an underscore."""
    return file.split(".")[1].split("_")[0] if "." in file else file
