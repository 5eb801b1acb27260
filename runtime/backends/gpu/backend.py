"""Sampling on a GPU: levels drawn one after the other on one stream, images encoded and decoded on others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from latentloop.backends.gpu.arrays import ArrayCodec
from latentloop.backends.gpu.codec import DeviceCodec, DeviceDecoding
from latentloop.backends.gpu.device_context import DeviceContext
from latentloop.backends.gpu.device_graph import DeviceGraph, Tensor
from latentloop.backends.gpu.loop import AnyPrior, DeviceLoop, Load
from latentloop.backends.gpu.staging import Pool, Staging
from latentloop.backends.gpu.state_buffers import entry
from latentloop.bundles.bundle import Bundle
from latentloop.bundles.manifest import Level
from latentloop.draws.level_inputs import AfterRow, Codes, LevelDraw, LevelInputs, Row
from latentloop.engines.engine_set import CodecEngine
from latentloop.errors import BundleError, InputError
from latentloop.kernels.driver import Driver, Stream


class GraphProvider(Protocol):
    """Where a GPU's graphs come from: engines, or a bundle's ONNX files."""

    @property
    def encoder(self) -> CodecEngine:
        """The encoder."""

    @property
    def decoder(self) -> CodecEngine:
        """The decoder."""

    @property
    def largest_batch(self) -> int:
        """What they take at once."""

    def prior(self, level: str) -> AnyPrior:
        """The graphs and memories of a level's prior, at the precision asked for."""

    def load(self, file: str, batch: int, stream: Stream) -> DeviceGraph:
        """A graph of its own for one batch size, to be enqueued on that stream."""


class GpuBackend:
    """A Backend; see there."""

    def __init__(
        self, bundle: Bundle, graphs: GraphProvider, driver: Driver, number: int, device: str, reason: str
    ) -> None:
        """``number`` is the GPU's."""
        self.bundle, self.device, self.reason = bundle, device, reason
        self.largest_batch = graphs.largest_batch
        self._graphs, self._driver, self._number = graphs, driver, number
        self._context = DeviceContext(driver, number)
        with self._context.current():
            self._stream = driver.stream()  # of the priors
        self._load = _loading(graphs, self._stream)
        self._loops: dict[str, DeviceLoop] = {}
        self._pool: Pool = {}
        self._encoder = DeviceCodec(bundle.path, graphs.encoder, graphs.load, self._context, self._pool)
        self._decoder = DeviceCodec(bundle.path, graphs.decoder, graphs.load, self._context, self._pool)
        self.arrays = ArrayCodec(bundle.manifest, self._encoder, self._decoder, self._context, graphs.largest_batch)

    def draw(self, draws: Sequence[LevelDraw], after_row: AfterRow | None) -> dict[str, Codes] | None:
        """Nothing waits until all levels are enqueued; with ``after_row`` the host follows one row behind."""
        given: dict[str, Codes] = {}
        drawn: dict[str, Codes] = {}  # [H, W, B], on their way to the host
        above: Codes | None = None  # the level above, where it is given
        upper: Tensor | None = None  # and where it is on the device
        staging = self._staging()
        with self._context.current():
            try:
                for requested in draws:
                    level, source = self.bundle.manifest.level(requested.level), requested.source
                    if not isinstance(source, LevelInputs):
                        given[level.name] = above = source
                        upper = None
                        continue
                    loop = self._begin(level, source.below(above), upper, staging)
                    if not self._draw_rows(loop, source, after_row):
                        return None
                    drawn[level.name] = staging.copy_out(loop.codes)
                    above, upper = None, loop.codes
            finally:
                self._driver.synchronize(self._driver.record(self._stream))
                codes = {name: values.transpose(2, 0, 1).copy() for name, values in drawn.items()}
                staging.release()
        for requested in draws:
            self._check_drawn(self.bundle.manifest.level(requested.level), codes.get(requested.level))
        return given | codes

    def rows(self, level: Level, level_inputs: LevelInputs, rows: int) -> Iterator[Row]:
        """Copies; a row is enqueued before the one above it is waited for."""
        staging = self._staging()
        waiting: tuple[Row, Staging, Any] | None = None
        try:
            with self._context.current():
                loop = self._begin(level, level_inputs, None, staging)
            for i in range(rows):
                with self._context.current():
                    self._enqueue_row(loop, i, level_inputs)
                    copies = self._staging()
                    codes, logits = copies.copy_out(entry(loop.codes, i)), copies.copy_out(loop.buffers["logits"])
                    event = self._driver.record(self._stream)
                if waiting is not None:
                    yield self._waited(level, *waiting)
                waiting = Row(i, codes, logits), copies, event
            if waiting is not None:
                yield self._waited(level, *waiting)
        finally:
            with self._context.current():
                self._driver.synchronize(self._driver.record(self._stream))
            staging.release()

    def encode(self, images: NDArray[np.uint8]) -> dict[str, Codes]:
        """As one batch."""
        return self._encoder.run({"images": images}).outputs()

    def decode(self, codes: dict[str, Codes]) -> DeviceDecoding:
        """As one batch, on a stream of its own."""
        return DeviceDecoding(self._decoder.run(dict(codes)))

    def after_fork(self) -> GpuBackend:
        """Raises InputError."""
        raise InputError(
            f"this sampler on {self.device} is of the process that this one was forked from, and CUDA does not survive "
            "a fork: start processes by the method 'spawn', or make the first sampler after the fork"
        )

    def captures(self) -> dict[str, int]:
        """By level, how many pieces of work have been captured for replay."""
        return {name: loop.captures for name, loop in self._loops.items()}

    def _staging(self) -> Staging:
        return Staging(self._driver, self._number, self._stream, self._pool)

    def _begin(self, level: Level, level_inputs: LevelInputs, upper: Tensor | None, staging: Staging) -> DeviceLoop:
        """The level's loop, made anew for another batch size, at its first row."""
        loop = self._loops.get(level.name)
        with self._context.bundle_errors(self.bundle.path, f"the prior of {level.name}"):
            if loop is None or loop.batch != level_inputs.batch:
                loop = None
                self._loops.pop(level.name, None)  # its memory goes before the new one's is allocated
                prior = self._graphs.prior(level.name)
                loop = DeviceLoop(level, prior, self._load, level_inputs.batch, self._driver, self._number, staging)
                self._loops[level.name] = loop
            loop.begin(level_inputs, upper, staging)
        return loop

    def _draw_rows(self, loop: DeviceLoop, level_inputs: LevelInputs, after_row: AfterRow | None) -> bool:
        """Enqueues a level; False where ``after_row`` cancelled it."""
        event: Any = None
        for i in range(loop.level.height):
            self._enqueue_row(loop, i, level_inputs)
            if after_row is None:
                continue
            if event is not None:
                self._driver.synchronize(event)
                if not after_row(loop.level.name, i):
                    return False
            event = self._driver.record(self._stream)
        if after_row is None:
            return True
        self._driver.synchronize(event)
        return after_row(loop.level.name, loop.level.height)

    def _enqueue_row(self, loop: DeviceLoop, i: int, level_inputs: LevelInputs) -> None:
        with self._context.bundle_errors(self.bundle.path, f"the prior of {loop.level.name}"):
            loop.enqueue_row(i, "step" if level_inputs.top_k is None else "step_filtered")

    def _waited(self, level: Level, row: Row, copies: Staging, event: Any) -> Row:
        with self._context.current():
            self._driver.synchronize(event)
        found = Row(row.index, row.codes.copy(), row.logits.copy())
        copies.release()
        self._check_drawn(level, found.codes)
        return found

    def _check_drawn(self, level: Level, codes: Codes | None) -> None:
        if codes is not None and (codes >= level.codebook_size).any():
            raise BundleError(f"{self.bundle.path}: {level.name} has logits that are not finite numbers")


def _loading(graphs: GraphProvider, stream: Stream) -> Load:
    """Refers to no backend: in a cycle its memory would stay until the collector comes by, perhaps in a capture."""
    return lambda described, batch: graphs.load(described.file, batch, stream)
