"""Sampling on a GPU: levels are drawn one after the other on one stream; encoder and decoder have their own streams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.backends.bundle_errors import check_drawn
from latentloop.backends.gpu.arrays import ArrayCodec
from latentloop.backends.gpu.codec import DeviceCodec
from latentloop.backends.gpu.device_context import DeviceContext
from latentloop.backends.gpu.device_graph import Tensor
from latentloop.backends.gpu.graph_provider import GraphProvider
from latentloop.backends.gpu.loop import DeviceLoop
from latentloop.backends.gpu.staging import Pool, Staging
from latentloop.backends.interface import Decoding
from latentloop.bundles.bundle import Bundle
from latentloop.bundles.manifest import Level
from latentloop.draws.level_inputs import AfterRow, Codes, LevelDraw, LevelInputs, Row
from latentloop.errors import InputError
from latentloop.kernels.driver import Driver


class GpuBackend:
    """Implements ``Backend`` on a GPU, with the graphs of a ``GraphProvider``."""

    def __init__(
        self, bundle: Bundle, graphs: GraphProvider, driver: Driver, number: int, device: str, reason: str
    ) -> None:
        """``number`` is the GPU's number; ``device`` and ``reason`` are described in ``Backend``."""
        self.bundle, self.device, self.reason = bundle, device, reason
        self.largest_batch = graphs.largest_batch
        self._graphs, self._driver, self._number = graphs, driver, number
        self._context = DeviceContext(driver, number)
        with self._context.current():
            self._stream = driver.stream()  # runs the priors
        self._loops: dict[str, DeviceLoop] = {}
        self._pool: Pool = {}
        self._encoder = DeviceCodec(bundle.path, graphs.encoder, graphs.load, self._context, self._pool)
        self._decoder = DeviceCodec(bundle.path, graphs.decoder, graphs.load, self._context, self._pool)
        self.arrays = ArrayCodec(bundle.manifest, self._encoder, self._decoder, self._context, graphs.largest_batch)

    @property
    def gpu(self) -> str:
        """The GPU's name and compute capability."""
        with self._context.current():
            major, minor = self._driver.capability()
            return f"{self._driver.model()}, {major}.{minor}"

    def draw(self, draws: Sequence[LevelDraw], after_row: AfterRow | None) -> dict[str, Codes] | None:
        """Enqueues all levels, then waits. With ``after_row``, enqueues a row before waiting for the previous one."""
        fixed: dict[str, Codes] = {}  # codes of levels that are not drawn
        copies: dict[str, Codes] = {}  # codes [H, W, B] of the other levels; valid after the stream is synchronized
        upper: Codes | None = None  # codes of the level above, if they are on the host
        upper_on_device: Tensor | None = None
        staging = self._staging()
        with self._context.current():
            try:
                for draw in draws:
                    level, source = self.bundle.manifest.level(draw.level), draw.source
                    if not isinstance(source, LevelInputs):
                        fixed[level.name] = upper = source
                        upper_on_device = None
                        continue
                    loop = self._begin(level, source.with_upper(upper), upper_on_device, staging)
                    if not self._enqueue_level(loop, after_row, copies):
                        return None
                    copies[level.name] = staging.copy_out(loop.codes)
                    upper, upper_on_device = None, loop.codes
            finally:
                self._driver.synchronize(self._driver.record(self._stream))
                drawn = {name: values.transpose(2, 0, 1).copy() for name, values in copies.items()}
                staging.release()
        for name, codes in drawn.items():
            check_drawn(self.bundle.path, self.bundle.manifest.level(name), codes)
        return fixed | drawn

    def rows(self, level: Level, level_inputs: LevelInputs, rows: int) -> Iterator[Row]:
        """Yields copies of finished rows. Enqueues each row before waiting for the previous one."""
        staging = self._staging()
        pending: tuple[Row, Staging, Any] | None = None  # the previous row, its copies, and the event after them
        try:
            with self._context.current():
                loop = self._begin(level, level_inputs, None, staging)
            for i in range(rows):
                with self._context.current():
                    self._enqueue_row(loop, i)
                    copies = self._staging()
                    codes, logits = copies.copy_out(loop.codes.row(i)), copies.copy_out(loop.buffers["logits"])
                    event = self._driver.record(self._stream)
                if pending is not None:
                    yield self._wait_for_row(level, *pending)
                pending = Row(i, codes, logits), copies, event
            if pending is not None:
                yield self._wait_for_row(level, *pending)
        finally:
            with self._context.current():
                self._driver.synchronize(self._driver.record(self._stream))
            staging.release()

    def encode(self, images: NDArray[np.uint8]) -> dict[str, Codes]:
        """Encodes the images as one batch."""
        return self._encoder.run({"images": images}).wait()

    def decode(self, codes: dict[str, Codes]) -> Decoding:
        """Starts to decode the codes as one batch, on the decoder's stream."""
        pending = self._decoder.run(dict(codes))

        def wait() -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
            outputs = pending.wait()
            return outputs["images"], outputs["decoded"]

        return Decoding(wait)

    def after_fork(self) -> GpuBackend:
        """Raises InputError: CUDA does not survive a fork."""
        raise InputError(
            f"this sampler on {self.device} was created before this process was forked, and CUDA does not survive a "
            "fork: start processes with the method 'spawn', or create the first sampler after the fork"
        )

    def captures(self) -> dict[str, int]:
        """Returns the number of captured CUDA graphs by level."""
        return {name: loop.captures for name, loop in self._loops.items()}

    def _staging(self) -> Staging:
        return Staging(self._driver, self._number, self._stream, self._pool)

    def _begin(self, level: Level, level_inputs: LevelInputs, upper: Tensor | None, staging: Staging) -> DeviceLoop:
        """Returns the level's loop, ready for its first row. The loop of the last batch size is cached."""
        loop = self._loops.get(level.name)
        with self._context.bundle_errors(self.bundle.path, f"the prior of {level.name}"):
            if loop is None or loop.batch != level_inputs.batch:
                loop = None
                self._loops.pop(level.name, None)  # frees its memory before more is allocated
                prior, load = self._graphs.priors[level.name], self._graphs.load
                loop = DeviceLoop(level, prior, load, level_inputs.batch, self._driver, self._number, staging)
                self._loops[level.name] = loop
            loop.begin(level_inputs, upper, staging)
        return loop

    def _enqueue_level(self, loop: DeviceLoop, after_row: AfterRow | None, upper: dict[str, Codes]) -> bool:
        """Enqueues all rows of a level, and returns whether it was finished: False if ``after_row`` cancelled it.

        ``upper`` are the codes [H, W, B] of the levels drawn before, valid when the first row is finished.
        """
        event: Any = None
        for i in range(loop.level.height):
            self._enqueue_row(loop, i)
            if after_row is None:
                continue
            if event is not None:
                self._driver.synchronize(event)
                if not after_row(loop.level.name, i, partial(self._drawn, loop, i, upper)):
                    return False
            event = self._driver.record(self._stream)
        if after_row is None:
            return True
        self._driver.synchronize(event)
        return after_row(loop.level.name, loop.level.height, partial(self._drawn, loop, loop.level.height, upper))

    def _drawn(self, loop: DeviceLoop, rows: int, upper: dict[str, Codes]) -> dict[str, Codes]:
        """Implements ``DrawnCodes`` when ``rows`` rows are finished. Waits for the row that is enqueued after them."""
        staging = self._staging()
        with self._context.current():
            copied = staging.copy_out(loop.codes)
            self._driver.synchronize(self._driver.record(self._stream))
        codes = {name: values.transpose(2, 0, 1) for name, values in upper.items()}
        codes[loop.level.name] = copied.transpose(2, 0, 1).copy()
        codes[loop.level.name][:, rows:] = -1
        staging.release()
        check_drawn(self.bundle.path, loop.level, codes[loop.level.name])
        return codes

    def _enqueue_row(self, loop: DeviceLoop, i: int) -> None:
        with self._context.bundle_errors(self.bundle.path, f"the prior of {loop.level.name}"):
            loop.enqueue_row(i)

    def _wait_for_row(self, level: Level, row: Row, copies: Staging, event: Any) -> Row:
        """Waits until a row has been copied to the host, and returns it in arrays that outlive the staging memory."""
        with self._context.current():
            self._driver.synchronize(event)
        finished = Row(row.index, row.codes.copy(), row.logits.copy())
        copies.release()
        check_drawn(self.bundle.path, level, finished.codes)
        return finished
