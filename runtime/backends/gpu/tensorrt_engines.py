"""Graphs as TensorRT engines: plans of a set, with one execution context per loop or codec.

The Python modules ``tensorrt`` and ``tensorrt_rtx`` have the same interface, so the module is a parameter.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from typing import Any

from latentloop.backends.bundle_errors import out_of_memory
from latentloop.backends.gpu.device_graph import Tensor
from latentloop.backends.gpu.graph_provider import GraphProvider
from latentloop.backends.gpu.tensorrt_module import error_log
from latentloop.engines.engine_set import EngineSet
from latentloop.errors import BundleError, DeviceError, LatentLoopError
from latentloop.kernels.driver import Stream
from latentloop.kernels.element_types import BOUND

# TensorRT's codes do not tell failures of the GPU from others, but its texts do: "Error Code 1: Cuda Runtime (…)".
_OF_DEVICE = ("Cuda Runtime (", "Cuda Driver (")


class TensorRtGraphs(GraphProvider):
    """The engines of a set. They are loaded on first use; threads may share them."""

    def __init__(self, module: Any, engines: EngineSet) -> None:
        """``module`` is the TensorRT module that the set was built with: tensorrt or tensorrt_rtx."""
        priors = {level.name: level.prior for level in engines.levels if level.prior is not None}
        largest_batch = max(profile.maximum for profile in engines.profiles)  # of all profiles
        super().__init__(engines.encoder, engines.decoder, priors, largest_batch)
        self._set = engines
        self._module = module
        self._log = error_log(module)
        self._runtime = module.Runtime(self._log)
        self._loaded: dict[str, Any] = {}
        self._lock = threading.Lock()

    def load(self, file: str, batch: int, stream: Stream) -> TensorRtGraph:
        """Returns a graph with a new execution context.

        Raises BundleError if no profile contains the batch size, or if TensorRT cannot load the plan.
        """
        profiles = self._set.profiles
        fitting = [n for n, profile in enumerate(profiles) if profile.minimum <= batch <= profile.maximum]
        if not fitting:
            raise BundleError(
                f"{self._set.folder}: built for batches of at most {self.largest_batch}, requested {batch}: use a "
                "smaller one, or build engines with a larger --max-batch"
            )
        # The narrowest profile that contains the batch size is the best tuned for it.
        narrowest = min(fitting, key=lambda n: profiles[n].maximum - profiles[n].minimum)
        engine = self._engine(file)
        context = self._context(engine)
        if context is None or not context.set_optimization_profile_async(narrowest, stream.handle):
            raise self._load_error(file)
        return TensorRtGraph(self, file, context, {name for name in _names(engine) if self._is_input(engine, name)})

    def _engine(self, file: str) -> Any:
        with self._lock:
            if file not in self._loaded:
                path = self._set.folder / file
                self._log.errors.clear()
                try:
                    plan = path.read_bytes()
                except OSError:
                    plan = b""
                if hashlib.sha256(plan).hexdigest() != self._set.files[file].sha256:
                    raise BundleError(f"{path} has changed since the bundle was opened: open the bundle again")
                engine = self._runtime.deserialize_cuda_engine(plan)
                if engine is None:
                    raise self._load_error(file)
                self._check_bindings(file, engine)
                self._loaded[file] = engine
            return self._loaded[file]

    def _context(self, engine: Any) -> Any:
        if not hasattr(engine, "create_runtime_config"):
            return engine.create_execution_context()
        # TensorRT for RTX compiles kernels on the device: those for the loop's shapes must be compiled before the first
        # capture, not later in the background.
        config = engine.create_runtime_config()
        if hasattr(self._module, "DynamicShapesKernelSpecializationStrategy"):
            strategies = self._module.DynamicShapesKernelSpecializationStrategy
            config.dynamic_shapes_kernel_specialization_strategy = strategies.EAGER
        return engine.create_execution_context(config)

    def _is_input(self, engine: Any, name: str) -> bool:
        return bool(engine.get_tensor_mode(name) == self._module.TensorIOMode.INPUT)

    def _check_bindings(self, file: str, engine: Any) -> None:
        """Raises BundleError if the plan's inputs and outputs differ from those in the set's manifest."""
        description = next(engine for engine in self._set.engines() if engine.file == file)
        expected = {tensor.name: tensor.dtype for tensor in (*description.inputs, *description.outputs)}
        dtypes = {getattr(self._module.DataType, bound.tensorrt): bound.name for bound in BOUND}
        actual = {name: dtypes.get(engine.get_tensor_dtype(name)) for name in _names(engine)}
        if actual != expected:
            names = actual.keys() | expected.keys()
            differing = sorted(name for name in names if actual.get(name) != expected.get(name))
            raise BundleError(
                f"{self._set.folder / file}: inputs and outputs of plan and manifest differ: {', '.join(differing)}"
            )

    def error(self, file: str, action: str, remedy: str = "") -> LatentLoopError:
        """Returns the error for a plan that TensorRT cannot load or run, with the last error in its log: an InputError
        if memory is not sufficient, a DeviceError if the GPU failed, else a BundleError with the remedy.
        """
        reason = self._log.errors[-1] if self._log.errors else "it reports no reason"
        if shortage := out_of_memory(RuntimeError(reason)):
            return shortage
        text = f"{self._set.folder / file}: TensorRT cannot {action} it: {reason}"
        return DeviceError(text) if any(sign in reason for sign in _OF_DEVICE) else BundleError(text + remedy)

    def _load_error(self, file: str) -> LatentLoopError:
        return self.error(file, "load", "; build it again with `latentloop build-engines --force`")


class TensorRtGraph:
    """A ``DeviceGraph`` that runs in an execution context."""

    capturable = True

    def __init__(self, graphs: TensorRtGraphs, file: str, context: Any, inputs: set[str]) -> None:
        self.name = file
        self._graphs, self._context, self._inputs = graphs, context, inputs
        self._shapes: dict[str, tuple[int, ...]] = {}

    def enqueue(self, tensors: Mapping[str, Tensor], stream: Stream) -> None:
        """Sets all addresses, and the shapes that have changed, and enqueues a run."""
        context = self._context
        for name, tensor in tensors.items():
            if name in self._inputs and self._shapes.get(name) != tensor.shape:
                if not context.set_input_shape(name, tensor.shape):
                    raise self._graphs.error(self.name, "run")
                self._shapes[name] = tensor.shape
            if not context.set_tensor_address(name, tensor.pointer):
                raise self._graphs.error(self.name, "run")
        if not context.execute_async_v3(stream.handle):
            raise self._graphs.error(self.name, "run")


def _names(engine: Any) -> list[str]:
    return [engine.get_tensor_name(n) for n in range(engine.num_io_tensors)]
