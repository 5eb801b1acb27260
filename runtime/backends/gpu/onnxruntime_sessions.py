"""ONNX Runtime's providers for NVIDIA GPUs: the bundle's own graphs, bound to device memory, on the loop's stream."""

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
from latentloop.backends.interface import MOST_BATCH
from latentloop.backends.onnxruntime import open_session, session_options
from latentloop.bundles.bundle import Bundle
from latentloop.bundles.manifest import Prior
from latentloop.engines.engine_set import codec_of
from latentloop.errors import BundleError
from latentloop.kernels.driver import Stream

CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"
OPERATORS = Path(__file__).parents[2] / "kernels" / "liblatentloop_cuda.so"


class Sessions:
    """A bundle's graphs on one GPU and one stream. Threads may share them."""

    def __init__(self, bundle: Bundle, provider: str, number: int, precision: str) -> None:
        self._bundle, self._provider, self._number, self._precision = bundle, provider, number, precision
        self._loaded: dict[tuple[str, int], tuple[onnxruntime.InferenceSession, bool]] = {}
        self.largest_batch = MOST_BATCH
        self._captures = count(1)  # loops share sessions
        self._lock = threading.Lock()
        self.encoder, self.decoder = codec_of(bundle.manifest)

    def prior(self, level: str) -> Prior:
        """The bundle's own."""
        prior = self._bundle.manifest.level(level).prior
        assert prior is not None
        return prior.at(self._precision)

    def load(self, file: str, batch: int, stream: Stream) -> SessionGraph:
        """A session is shared by all batch sizes of a stream."""
        with self._lock:
            key = file, stream.handle
            if key not in self._loaded:
                self._loaded[key] = self._session(file, stream)
            session, captures = self._loaded[key]
            return SessionGraph(file, session, self._captures if captures else None, self._number)

    def _session(self, file: str, stream: Stream) -> tuple[onnxruntime.InferenceSession, bool]:
        """The session, and whether it captures CUDA graphs: of priors, and unless a node runs elsewhere."""
        if self._provider == CUDA and file not in (self.encoder.file, self.decoder.file):
            with suppress(BundleError):
                return self._open(file, stream, enable_cuda_graph="1"), True
        return self._open(file, stream), False

    def _open(self, file: str, stream: Stream, **settings: str) -> onnxruntime.InferenceSession:
        shared = {"device_id": str(self._number), "user_compute_stream": str(stream.handle)}
        providers: list[Any] = [(CUDA, {**shared, "use_tf32": "0", **settings})]
        if self._provider == TENSORRT:
            providers.insert(0, (TENSORRT, shared))
        options = session_options(OPERATORS if os.path.lexists(OPERATORS) else None)
        path, weights = self._bundle.path / file, self._bundle.path / self._bundle.manifest.weights
        with self._bundle.unchanged(path.name, weights.name):
            session = open_session(path, weights, options, providers)
        if self._provider not in session.get_providers():  # it falls back to the CPU without an error
            there = ", ".join(session.get_providers())
            raise BundleError(f"{path}: ONNX Runtime cannot use its {self._provider} here, only {there}")
        return session


class SessionGraph:
    """A DeviceGraph; see there.

    ONNX Runtime refuses to run within another program's capture. It captures each run by itself, by a number that
    stands for the run's addresses.
    """

    capturable = False

    def __init__(
        self, file: str, session: onnxruntime.InferenceSession, captures: Iterator[int] | None, number: int
    ) -> None:
        """``captures`` gives numbers not yet used in the session, where that captures."""
        self.name = file
        self._session, self._captures, self._number = session, captures, number
        self._inputs = {value.name for value in session.get_inputs()}
        self._runs: dict[tuple[int, ...], tuple[Any, onnxruntime.RunOptions]] = {}

    def enqueue(self, tensors: Mapping[str, Tensor], stream: Stream) -> None:
        """On the session's stream, which is the loop's. Bindings are made once for each set of addresses."""
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
        if self._captures is not None:
            options.add_run_config_entry("gpu_graph_id", str(next(self._captures)))
        return options
