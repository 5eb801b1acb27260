"""Graphs as ONNX Runtime sessions on a GPU: the bundle's ONNX files, bound to device memory, on the loop's stream."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from latentloop.backends.gpu.device_graph import Tensor
from latentloop.backends.gpu.graph_provider import GraphProvider
from latentloop.backends.interface import MAX_BATCH
from latentloop.backends.onnxruntime import Provider, open_graph
from latentloop.bundles.bundle import Bundle
from latentloop.bundles.codec import codec_of
from latentloop.errors import BundleError
from latentloop.kernels.driver import Stream

CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"
OPERATORS = Path(__file__).parents[2] / "kernels" / "liblatentloop_cuda.so"


class OnnxRuntimeGraphs(GraphProvider):
    """A bundle's ONNX files on one GPU."""

    def __init__(self, bundle: Bundle, provider: str, number: int, precision: str) -> None:
        super().__init__(*codec_of(bundle.manifest), bundle.manifest.priors(precision), MAX_BATCH)
        self._bundle, self._provider, self._number = bundle, provider, number
        self._sessions: dict[tuple[str, int], tuple[onnxruntime.InferenceSession, bool]] = {}  # by file and stream
        self._graph_ids = count(1)  # unique per session, because loops share sessions
        self._lock = threading.Lock()

    def load(self, file: str, batch: int, stream: Stream) -> OnnxRuntimeGraph:
        """Returns a graph. Graphs of the same file and stream share a session."""
        with self._lock:
            key = file, stream.handle
            if key not in self._sessions:
                self._sessions[key] = self._session(file, stream)
            session, is_capturing = self._sessions[key]
            return OnnxRuntimeGraph(file, session, self._graph_ids if is_capturing else None, self._number)

    def _session(self, file: str, stream: Stream) -> tuple[onnxruntime.InferenceSession, bool]:
        """Returns a new session, and whether it captures CUDA graphs: priors do, unless a node runs on the CPU."""
        if self._provider == CUDA and file not in (self.encoder.file, self.decoder.file):
            with suppress(BundleError):
                return self._open(file, stream, enable_cuda_graph="1"), True
        return self._open(file, stream), False

    def _open(self, file: str, stream: Stream, **settings: str) -> onnxruntime.InferenceSession:
        shared = {"device_id": str(self._number), "user_compute_stream": str(stream.handle)}
        providers: list[Provider] = [(CUDA, {**shared, "use_tf32": "0", **settings})]
        if self._provider == TENSORRT:
            providers.insert(0, (TENSORRT, shared))
        return open_graph(self._bundle, file, providers, OPERATORS if os.path.lexists(OPERATORS) else None)


class OnnxRuntimeGraph:
    """A ``DeviceGraph`` that runs in a session.

    ONNX Runtime cannot run while its caller captures a CUDA graph. Instead, the session itself captures one CUDA graph,
    with an id, for each set of tensor addresses.
    """

    capturable = False

    def __init__(
        self, file: str, session: onnxruntime.InferenceSession, graph_ids: Iterator[int] | None, number: int
    ) -> None:
        """``graph_ids`` yields ids that the session has not used; it is None if the session does not capture."""
        self.name = file
        self._session, self._graph_ids, self._number = session, graph_ids, number
        self._inputs = {value.name for value in session.get_inputs()}
        self._runs: dict[tuple[int, ...], tuple[Any, onnxruntime.RunOptions]] = {}  # by addresses

    def enqueue(self, tensors: Mapping[str, Tensor], stream: Stream) -> None:
        """Enqueues a run on the session's stream, which is ``stream``. A binding is cached per set of addresses."""
        key = tuple(tensor.pointer for tensor in tensors.values())
        if key not in self._runs:
            self._runs[key] = self._bind(tensors), self._options()
        self._session.run_with_iobinding(*self._runs[key])

    def _bind(self, tensors: Mapping[str, Tensor]) -> Any:
        binding = self._session.io_binding()
        for name, tensor in tensors.items():
            bind = binding.bind_input if name in self._inputs else binding.bind_output
            bind(name, "cuda", self._number, np.dtype(tensor.dtype).type, list(tensor.shape), tensor.pointer)
        return binding

    def _options(self) -> onnxruntime.RunOptions:
        options = onnxruntime.RunOptions()
        options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        if self._graph_ids is not None:
            options.add_run_config_entry("gpu_graph_id", str(next(self._graph_ids)))
        return options
