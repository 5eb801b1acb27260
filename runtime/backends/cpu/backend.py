"""The backend ``cpu``: ONNX Runtime on NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.backends.bundle_errors import bundle_errors, check_drawn
from latentloop.backends.cpu.loop import PriorLoop
from latentloop.backends.cpu.session import OrtSession, bundle_session, forget_session
from latentloop.backends.interface import MAX_BATCH, Decoding
from latentloop.backends.registry import BackendRequest
from latentloop.bundles.bundle import Bundle
from latentloop.bundles.manifest import Level
from latentloop.bundles.memory import codec_batch, sampling_memory
from latentloop.draws.level_inputs import AfterRow, Codes, LevelDraw, LevelInputs, Row


def check(name: str) -> None:
    """Does nothing: importing this module has checked ONNX Runtime."""


def find(request: BackendRequest) -> Callable[[], CpuBackend]:
    """Implements ``BackendModule.find``; checks only the precision."""
    precision = request.bundle.manifest.check_precision(request.precision)
    return lambda: CpuBackend(request.bundle, request.threads, precision, request.reason)


class CpuBackend:
    """Implements ``Backend`` on the CPU."""

    device = "cpu"
    gpu = None
    largest_batch = MAX_BATCH
    arrays = None

    def __init__(self, bundle: Bundle, threads: int, precision: str, reason: str) -> None:
        self.bundle, self.threads, self.precision, self.reason = bundle, threads, precision, reason
        self._priors = bundle.manifest.priors(precision)
        self._loops: dict[str, PriorLoop] = {}

    def draw(self, draws: Sequence[LevelDraw], after_row: AfterRow | None) -> dict[str, Codes] | None:
        """Draws level by level, row by row."""
        codes: dict[str, Codes] = {}
        upper: Codes | None = None
        for draw in draws:
            level = self.bundle.manifest.level(draw.level)
            if isinstance(draw.source, LevelInputs):
                level_codes = np.full((draw.source.batch, level.height, level.width), -1, np.int64)
                codes[level.name] = level_codes
                for row in self.rows(level, draw.source.with_upper(upper), level.height):
                    level_codes[:, row.index] = row.codes.T
                    if after_row is not None and not after_row(level.name, row.index + 1, lambda: codes):
                        return None
            else:
                codes[level.name] = draw.source
            upper = codes[level.name]
        return codes

    def rows(self, level: Level, level_inputs: LevelInputs, rows: int) -> Iterator[Row]:
        """Yields views of the loop's state buffers. The last loop of each level is cached for the next call."""
        with bundle_errors(self.bundle.path, f"the prior of {level.name}"):
            loop = self._loops.get(level.name)
            if loop is None or loop.batch != level_inputs.batch:
                self._make_room(level, level_inputs.batch)
                prior = self._priors[level.name]
                loop = self._loops[level.name] = PriorLoop(level, prior, self.session, level_inputs.batch)
            for row in loop.rows(level_inputs, rows):
                check_drawn(self.bundle.path, level, row.codes)
                yield row

    def encode(self, images: NDArray[np.uint8]) -> dict[str, Codes]:
        """Encodes the images, several at once."""
        return self._codec(self.bundle.manifest.encoder, {"images": images})

    def decode(self, codes: dict[str, Codes]) -> Decoding:
        """Decodes the codes, of several images at once, and returns when the images are finished."""
        outputs = self._codec(self.bundle.manifest.decoder, codes)
        images = outputs["images"], outputs["decoded"]
        return Decoding(lambda: images)

    def _codec(self, file: str, inputs: dict[str, Any]) -> dict[str, Any]:
        """Runs the encoder or the decoder on arrays of N images, on a part of them at a time if they are large."""
        n = len(next(iter(inputs.values())))
        with bundle_errors(self.bundle.path, file):
            session, size = self.session(file), codec_batch(self.bundle)
            if n <= size:
                return session.run(inputs)
            starts = range(0, n, size)
            parts = [session.run({name: array[i : i + size] for name, array in inputs.items()}) for i in starts]
            return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _make_room(self, level: Level, batch: int) -> None:
        """Frees the other levels' priors if all of them together need too much of this machine's memory."""
        others = [name for name in self._loops if name != level.name]
        if not others or sampling_memory(self.bundle, self.precision, batch).all_levels_fit:
            return
        for name in others:
            del self._loops[name]
            for graph in self._priors[name].graphs.values():
                forget_session(self.bundle, graph.file, self.threads)

    def after_fork(self) -> CpuBackend:
        """Returns a backend that opens new sessions: the threads of the old ones exist in the parent process only."""
        return CpuBackend(self.bundle, self.threads, self.precision, self.reason)

    def session(self, file: str) -> OrtSession:
        """Returns the cached session of a graph's file."""
        return bundle_session(self.bundle, file, self.threads)
