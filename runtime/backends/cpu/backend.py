"""The CPU: graphs through ONNX Runtime, in place on NumPy memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentloop.backends.bundle_errors import fitting
from latentloop.backends.cpu.loop import PriorLoop
from latentloop.backends.cpu.session import OrtSession
from latentloop.backends.interface import MOST_BATCH
from latentloop.bundles.bundle import Bundle
from latentloop.bundles.manifest import Level
from latentloop.draws.level_inputs import AfterRow, Codes, LevelDraw, LevelInputs, Row


@dataclass(frozen=True)
class Decoded:
    """Images that are there already."""

    images: NDArray[np.uint8]
    decoded: NDArray[np.float32]

    def wait(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """At once."""
        return self.images, self.decoded


class CpuBackend:
    """A Backend; see there."""

    device = "cpu"
    largest_batch = MOST_BATCH
    arrays = None  # it has no device arrays

    def __init__(self, bundle: Bundle, threads: int, precision: str, reason: str) -> None:
        self.bundle, self.threads, self.precision, self.reason = bundle, threads, precision, reason
        self._loops: dict[str, PriorLoop] = {}

    def draw(self, draws: Sequence[LevelDraw], after_row: AfterRow | None) -> dict[str, Codes] | None:
        """Level by level, row by row."""
        codes: dict[str, Codes] = {}
        upper: Codes | None = None
        for asked in draws:
            level, source = asked.level, asked.source
            if isinstance(source, LevelInputs):
                drawn = np.empty((source.batch, level.height, level.width), np.int64)
                for row in self.rows(level, source.below(upper), level.height):
                    drawn[:, row.index] = row.codes.T
                    if after_row is not None and not after_row(level, row.index + 1):
                        return None
            else:
                drawn = source
            codes[level.name] = upper = drawn
        return codes

    def rows(self, level: Level, controls: LevelInputs, rows: int) -> Iterator[Row]:
        """Rows are views of the loop's memory. The last loop of each level is kept for the next call."""
        loop = self._loops.get(level.name)
        if loop is None or loop.batch != controls.batch:
            assert level.prior is not None
            prior = level.prior.at(self.precision)
            loop = self._loops[level.name] = PriorLoop(level, prior, self._graph, controls.batch)
        with fitting(self.bundle.path, f"the prior of {level.name}"):
            yield from loop.rows(controls, rows)

    def encode(self, images: NDArray[np.uint8]) -> dict[str, Codes]:
        """As one batch."""
        with fitting(self.bundle.path, self.bundle.manifest.encoder):
            return self._graph(self.bundle.manifest.encoder).run({"images": images})

    def decode(self, codes: dict[str, Codes]) -> Decoded:
        """As one batch, before this returns."""
        with fitting(self.bundle.path, self.bundle.manifest.decoder):
            found = self._graph(self.bundle.manifest.decoder).run(dict(codes))
            return Decoded(found["images"], found["decoded"])

    def after_fork(self) -> CpuBackend:
        """One whose graphs are loaded anew: the threads of these stayed with the other process."""
        return CpuBackend(self.bundle, self.threads, self.precision, self.reason)

    def _graph(self, file: str) -> OrtSession:
        return self.bundle.graph(file, self.threads)
