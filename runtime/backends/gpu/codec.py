"""The encoder and the decoder on a GPU. Each has a stream of its own, so that it can run while codes are drawn."""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from latentloop.backends.gpu.device_context import DeviceContext
from latentloop.backends.gpu.device_graph import DeviceGraph, LoadGraph, Tensor, TensorAllocator
from latentloop.backends.gpu.staging import Pool, Staging, wait_for_stream
from latentloop.bundles.codec import CodecGraph
from latentloop.bundles.codec import Tensor as TensorDescription
from latentloop.bundles.views import shape_for_batch
from latentloop.kernels.driver import BorrowedArray, DeviceArray, DeviceMemory, Stream
from latentloop.kernels.element_types import ELEMENT_TYPES

Array = NDArray[Any]
Outputs = dict[str, DeviceArray]


@dataclass
class PreparedGraph:
    """The graph for one batch size, with a tensor for each input and output."""

    batch: int
    graph: DeviceGraph
    tensors: dict[str, Tensor]
    allocator: TensorAllocator  # of the tensors


class DeviceCodec:
    """The encoder or the decoder. The graph of the last batch size is cached."""

    def __init__(
        self, bundle: Path, description: CodecGraph, load: LoadGraph, context: DeviceContext, pool: Pool
    ) -> None:
        self._bundle, self._description, self._load = bundle, description, load
        self._context, self._pool = context, pool
        self._driver, self._number = context.driver, context.number
        with context.current():
            self._stream = self._driver.stream()
        self._prepared: PreparedGraph | None = None

    def run(self, inputs: dict[str, Array]) -> PendingOutputs:
        """Enqueues a run on host arrays [N, ...], with the copies to the device and back."""
        staging = Staging(self._driver, self._number, self._stream, self._pool)
        with self._context.bundle_errors(self._bundle, self._description.file):
            prepared = self._prepare(len(next(iter(inputs.values()))))
            for name, values in inputs.items():
                staging.copy_in(prepared.tensors[name], values)
            prepared.graph.enqueue(prepared.tensors, self._stream)
            outputs = {out.name: staging.copy_out(prepared.tensors[out.name]) for out in self._description.outputs}
            return PendingOutputs(self, staging, outputs, self._driver.record(self._stream))

    def run_on_device(
        self, inputs: dict[str, BorrowedArray], outputs: tuple[str, ...], stream: Stream, largest_run: int
    ) -> Outputs:
        """Enqueues runs on arrays [N, ...] in device memory, and returns new arrays there for the named outputs.

        The order is that of the caller's ``stream``. Nothing waits, except for a batch size that differs from the last
        one. A run has at most ``largest_run`` images.
        """
        n = next(iter(inputs.values())).shape[0]
        with self._context.bundle_errors(self._bundle, self._description.file):
            results = {out.name: self._new(out, n, stream) for out in self._description.outputs if out.name in outputs}
            self._driver.wait(self._stream, self._driver.record(stream))
            count = min(largest_run, n)
            try:
                for start in range(0, n, count):  # all runs have the same size, so the last may overlap the one before
                    self._run_slice(inputs, results, min(start, n - count), count)
                self._driver.wait(stream, self._driver.record(self._stream))
            except BaseException:
                wait_for_stream(self._driver, self._number, self._stream)  # what is enqueued uses the caller's arrays
                raise
        return results

    def _new(self, description: TensorDescription, n: int, stream: Stream) -> DeviceArray:
        shape, dtype = shape_for_batch(description.shape, n), ELEMENT_TYPES[description.dtype]
        memory = DeviceMemory(self._driver, self._number, math.prod(shape) * dtype.size, stream)
        return DeviceArray(memory, shape, dtype)

    def _run_slice(self, inputs: dict[str, BorrowedArray], outputs: Outputs, start: int, count: int) -> None:
        """Enqueues a run on ``count`` images from ``start`` on. Slices that are not aligned are copied to or from the
        tensors of the prepared graph.
        """
        prepared = self._prepare(count)
        tensors, copies_out = dict(prepared.tensors), []
        pointers = {name: array.pointer for arrays in (inputs, outputs) for name, array in arrays.items()}
        for name, pointer in pointers.items():
            substitute = prepared.tensors[name]
            view = _view(pointer, substitute, start)
            if view.is_aligned:
                tensors[name] = view
            elif name in inputs:
                self._driver.copy(substitute.pointer, view.pointer, view.size, self._stream)
            else:
                copies_out.append((view, substitute))
        prepared.graph.enqueue(tensors, self._stream)
        for view, substitute in copies_out:
            self._driver.copy(view.pointer, substitute.pointer, view.size, self._stream)

    def wait(self, event: Any) -> None:
        """Waits for an event of the codec's stream."""
        with self._context.current():
            self._driver.synchronize(event)

    def _prepare(self, batch: int) -> PreparedGraph:
        if self._prepared is None or self._prepared.batch != batch:
            self._prepared = None  # frees its memory before more is allocated
            allocator = TensorAllocator(self._driver, self._number, self._stream)
            tensors = {
                tensor.name: allocator.allocate(tensor.dtype, shape_for_batch(tensor.shape, batch))
                for tensor in (*self._description.inputs, *self._description.outputs)
            }
            graph = self._load(self._description.file, batch, self._stream)
            self._prepared = PreparedGraph(batch, graph, tensors, allocator)
            # A TensorRT context must not be destroyed while it runs.
            weakref.finalize(self._prepared, wait_for_stream, self._driver, self._number, self._stream).atexit = False
        return self._prepared


class PendingOutputs:
    """Outputs of an enqueued run, which are being copied to the host."""

    def __init__(self, codec: DeviceCodec, staging: Staging, outputs: dict[str, Array], event: Any) -> None:
        self._codec, self._staging, self._outputs, self._event = codec, staging, outputs, event

    def wait(self) -> dict[str, Array]:
        """Waits for the outputs and returns copies of them. It can be called once."""
        self._codec.wait(self._event)
        copies = {name: values.copy() for name, values in self._outputs.items()}
        self._outputs.clear()
        self._staging.release()
        return copies


def _view(pointer: int, like: Tensor, start: int) -> Tensor:
    """Returns a view with the type and shape of ``like`` that begins at image ``start`` of the array at ``pointer``."""
    image_size = math.prod(like.shape[1:]) * ELEMENT_TYPES[like.dtype].size
    return Tensor(pointer + start * image_size, like.dtype, like.shape)
