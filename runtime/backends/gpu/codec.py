"""The encoder and the decoder on a GPU, each on a stream of its own, beside the sampling."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.backends.gpu.device_context import DeviceContext
from latentloop.backends.gpu.device_graph import SIZES, DeviceGraph, Tensor
from latentloop.backends.gpu.staging import Pool, Staging, settle
from latentloop.backends.gpu.state_buffers import allocate
from latentloop.bundles.views import batched
from latentloop.engines.engine_set import CodecEngine
from latentloop.engines.engine_set import Tensor as Described
from latentloop.kernels.driver import BorrowedArray, DeviceArray, DeviceMemory, Stream
from latentloop.kernels.driver.datatype import FLOAT32, INT64, UINT8

Array = NDArray[Any]
TYPES = {dtype.name: dtype for dtype in (UINT8, INT64, FLOAT32)}  # of images, codes, and images before rounding


@dataclass
class Prepared:
    """The graph for one batch size, with memory for what comes from the host and goes there."""

    batch: int
    graph: DeviceGraph
    tensors: dict[str, Tensor]
    kept: list[DeviceMemory]


class DeviceCodec:
    """One of the two graphs; the last batch size's is kept."""

    def __init__(
        self,
        bundle: Path,
        described: CodecEngine,
        load: Callable[[str, int, Stream], DeviceGraph],
        context: DeviceContext,
        pool: Pool,
    ) -> None:
        self.described = described
        self._bundle, self._load, self._context, self._pool = bundle, load, context, pool
        self._driver, self._number = context.driver, context.number
        with context.current():
            self._stream = self._driver.stream()
        self._prepared: Prepared | None = None

    def run(self, inputs: dict[str, Array]) -> Running:
        """Enqueues everything from the inputs [N, ...] on the host to the outputs there."""
        staging = Staging(self._driver, self._number, self._stream, self._pool)
        with self._context.bundle_errors(self._bundle, self.described.file):
            prepared = self._prepare(len(next(iter(inputs.values()))))
            for name, values in inputs.items():
                staging.copy_in(prepared.tensors[name], values)
            prepared.graph.enqueue(prepared.tensors, self._stream)
            outputs = {out.name: staging.copy_out(prepared.tensors[out.name]) for out in self.described.outputs}
            return Running(self, staging, outputs, self._driver.record(self._stream))

    def run_on(self, inputs: dict[str, BorrowedArray], outputs: tuple[str, ...], stream: Stream, most: int) -> Outputs:
        """From arrays [N, ...] on the device to new ones there, in the order of the caller's stream. Nothing waits,
        unless the batch size is another than before.

        ``most`` at once; ``outputs`` are those that are wanted.
        """
        n = next(iter(inputs.values())).shape[0]
        with self._context.bundle_errors(self._bundle, self.described.file):
            found = {out.name: self._new(out, n, stream) for out in self.described.outputs if out.name in outputs}
            self._driver.wait(self._stream, self._driver.record(stream))
            count = min(most, n)
            for start in range(0, n, count):  # the last part begins within the one before: all are of one size
                self._run_part(inputs, found, min(start, n - count), count)
            self._driver.wait(stream, self._driver.record(self._stream))
        return found

    def _new(self, described: Described, n: int, stream: Stream) -> DeviceArray:
        shape = batched(described.shape, n)
        memory = DeviceMemory(self._driver, self._number, math.prod(shape) * SIZES[described.dtype], stream)
        return DeviceArray(memory, shape, TYPES[described.dtype])

    def _run_part(self, inputs: dict[str, BorrowedArray], outputs: Outputs, start: int, count: int) -> None:
        """``count`` entries from ``start`` on, through own memory where the caller's is not aligned."""
        prepared = self._prepare(count)
        tensors, after = dict(prepared.tensors), []
        pointers = {name: array.pointer for arrays in (inputs, outputs) for name, array in arrays.items()}
        for name, pointer in pointers.items():
            own = prepared.tensors[name]
            part = _entries(pointer, own, start)
            if part.is_aligned:
                tensors[name] = part
            elif name in inputs:
                self._driver.copy(own.pointer, part.pointer, own.size, self._stream)
            else:
                after.append((part, own))
        prepared.graph.enqueue(tensors, self._stream)
        for part, own in after:
            self._driver.copy(part.pointer, own.pointer, own.size, self._stream)

    def wait(self, event: Any) -> None:
        """The host waits."""
        with self._context.current():
            self._driver.synchronize(event)

    def _prepare(self, batch: int) -> Prepared:
        if self._prepared is None or self._prepared.batch != batch:
            self._prepared = None
            kept: list[DeviceMemory] = []
            tensors = {}
            for part in (*self.described.inputs, *self.described.outputs):
                shape = batched(part.shape, batch)
                tensors[part.name] = allocate(kept, self._driver, self._number, self._stream, part.dtype, shape)
            graph = self._load(self.described.file, batch, self._stream)
            self._prepared = Prepared(batch, graph, tensors, kept)
            # TensorRT's contexts must not go while they run.
            weakref.finalize(self._prepared, settle, self._driver, self._number, self._stream).atexit = False
        return self._prepared


Outputs = dict[str, DeviceArray]


class Running:
    """Outputs that are on their way to the host."""

    def __init__(self, codec: DeviceCodec, staging: Staging, outputs: dict[str, Array], event: Any) -> None:
        self._codec, self._staging, self._outputs, self._event = codec, staging, outputs, event

    def outputs(self) -> dict[str, Array]:
        """Waits; to be called once."""
        self._codec.wait(self._event)
        copied = {name: values.copy() for name, values in self._outputs.items()}
        self._outputs.clear()
        self._staging.release()
        return copied


class DeviceDecoding:
    """A Decoding; see there."""

    def __init__(self, running: Running) -> None:
        self._running = running

    def wait(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Once."""
        found = self._running.outputs()
        return found["images"], found["decoded"]


def _entries(pointer: int, like: Tensor, start: int) -> Tensor:
    """As many entries of the array at ``pointer`` as ``like`` has, from entry ``start`` on."""
    entry = math.prod(like.shape[1:]) * SIZES[like.dtype]
    return Tensor(pointer + start * entry, like.dtype, like.shape)
