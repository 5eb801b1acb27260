"""ONNX Runtime's providers for NVIDIA GPUs: the bundle's own graphs, bound to device memory, on the loop's stream."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from latentloop.backends.gpu.graph import Tensor
from latentloop.bundle import Bundle
from latentloop.engine_manifest import CodecEngine
from latentloop.engine_manifest import Tensor as Described
from latentloop.errors import BundleError
from latentloop.kernels.driver import Stream
from latentloop.kernels.library import problem
from latentloop.manifest import BATCH, Manifest, Prior

CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"
OPERATORS = Path(__file__).parents[2] / "kernels" / "liblatentloop_cuda.so"


class Sessions:
    """A bundle's graphs on one GPU and one stream. Threads may share them."""

    def __init__(self, bundle: Bundle, provider: str, number: int, precision: str) -> None:
        self._bundle, self._provider, self._number, self._precision = bundle, provider, number, precision
        self._loaded: dict[tuple[str, int], onnxruntime.InferenceSession] = {}
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
                self._loaded[key] = self._session(self._bundle.path / file, stream)
            return SessionGraph(file, self._loaded[key], self._number)

    def _session(self, path: Path, stream: Stream) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what it would log is in the exception
        if OPERATORS.is_file() and problem(OPERATORS) is None:
            options.register_custom_ops_library(str(OPERATORS))
        shared = {"device_id": str(self._number), "user_compute_stream": str(stream.handle)}
        providers: list[Any] = [(CUDA, {**shared, "use_tf32": "0"})]
        if self._provider == TENSORRT:
            providers.insert(0, (TENSORRT, {**shared, "trt_engine_hw_compatible": "0"}))
        try:
            session = onnxruntime.InferenceSession(path, options, providers=providers)
        except Exception as error:  # ONNX Runtime's exceptions have no common root of their own
            raise BundleError(f"{path}: ONNX Runtime cannot load it: {error}") from error
        if self._provider not in session.get_providers():  # it falls back to the CPU without an error
            raise BundleError(
                f"{path}: ONNX Runtime cannot use its {self._provider} here, only {session.get_providers()}"
            )
        return session


class SessionGraph:
    """A DeviceGraph; see there. ONNX Runtime refuses to run within another program's capture."""

    capturable = False

    def __init__(self, file: str, session: onnxruntime.InferenceSession, number: int) -> None:
        self.name = file
        self._session, self._number = session, number
        self._inputs = {value.name for value in session.get_inputs()}
        self._bindings: dict[tuple[int, ...], Any] = {}
        self._options = onnxruntime.RunOptions()
        self._options.add_run_config_entry("disable_synchronize_execution_providers", "1")

    def enqueue(self, tensors: Mapping[str, Tensor], stream: Stream) -> None:
        """On the session's stream, which is the loop's. Bindings are made once for each set of addresses."""
        key = tuple(tensor.pointer for tensor in tensors.values())
        binding = self._bindings.get(key)
        if binding is None:
            binding = self._bindings[key] = self._session.io_binding()
            for name, tensor in tensors.items():
                bind = binding.bind_input if name in self._inputs else binding.bind_output
                dtype = np.dtype(tensor.dtype).type
                bind(name, "cuda", self._number, dtype, list(tensor.shape), tensor.pointer)
        self._session.run_with_iobinding(binding, self._options)


def codec_of(manifest: Manifest) -> tuple[CodecEngine, CodecEngine]:
    """Encoder and decoder of a bundle, described as those of engines are."""
    images = Described("images", "uint8", (BATCH, *manifest.image))
    decoded = Described("decoded", "float32", images.shape)
    codes = tuple(Described(v.name, "int64", (BATCH, v.height, v.width)) for v in manifest.levels)
    return CodecEngine(manifest.encoder, (images,), codes), CodecEngine(manifest.decoder, codes, (images, decoded))
