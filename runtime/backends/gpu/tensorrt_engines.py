"""TensorRT's engines: plans of a set, one execution context per graph and loop.

``tensorrt`` and ``tensorrt_rtx`` have one interface; the module is a parameter.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from typing import Any

from latentloop.backends.gpu.device_graph import Tensor
from latentloop.backends.gpu.tensorrt_module import error_log
from latentloop.engines.engine_set import CodecEngine, EnginePrior, EngineSet
from latentloop.errors import BundleError
from latentloop.kernels.driver import Stream


class Engines:
    """The plans of one set, loaded when first used. Threads may share them."""

    def __init__(self, module: Any, described: EngineSet) -> None:
        """``module`` is tensorrt or tensorrt_rtx, the one that the set was built with."""
        self.described = described
        self._module = module
        self._log = error_log(module)
        self._runtime = module.Runtime(self._log)
        self._loaded: dict[str, Any] = {}
        self._lock = threading.Lock()

    @property
    def encoder(self) -> CodecEngine:
        """The encoder's plan."""
        return self.described.encoder

    @property
    def decoder(self) -> CodecEngine:
        """The decoder's plan."""
        return self.described.decoder

    @property
    def largest_batch(self) -> int:
        """Of all profiles."""
        return max(profile.maximum for profile in self.described.profiles)

    def prior(self, level: str) -> EnginePrior:
        """The plans and memories of a level's prior."""
        prior = next(found.prior for found in self.described.levels if found.name == level)
        assert prior is not None
        return prior

    def load(self, file: str, batch: int, stream: Stream) -> TensorRtGraph:
        """A context for a batch size. Raises BundleError where no profile takes it, or TensorRT refuses the plan."""
        profiles = self.described.profiles
        fitting = [n for n, profile in enumerate(profiles) if profile.minimum <= batch <= profile.maximum]
        if not fitting:
            raise BundleError(
                f"{self.described.folder}: built for batches of at most {self.largest_batch}, asked for {batch}: use a "
                "smaller one, or build engines with a larger --max-batch"
            )
        # Of profiles that take the batch the narrowest is tuned best to it.
        chosen = min(fitting, key=lambda n: profiles[n].maximum - profiles[n].minimum)
        engine = self._engine(file)
        context = self._context(engine)
        if context is None or not context.set_optimization_profile_async(chosen, stream.handle):
            raise self._refused(file)
        return TensorRtGraph(self, file, context, {name for name in _names(engine) if self._is_input(engine, name)})

    def _engine(self, file: str) -> Any:
        with self._lock:
            if file not in self._loaded:
                path = self.described.folder / file
                self._log.errors.clear()
                try:
                    plan = path.read_bytes()
                except OSError:
                    plan = b""
                if hashlib.sha256(plan).hexdigest() != self.described.files[file].sha256:
                    raise BundleError(f"{path} has changed since the bundle was opened: open the bundle again")
                engine = self._runtime.deserialize_cuda_engine(plan)
                if engine is None:
                    raise self._refused(file)
                self._check_bindings(file, engine)
                self._loaded[file] = engine
            return self._loaded[file]

    def _context(self, engine: Any) -> Any:
        if not hasattr(engine, "create_runtime_config"):
            return engine.create_execution_context()
        # TensorRT for RTX compiles kernels on the device. Those for the loop's shapes are wanted before the first
        # capture, not some time later in the background.
        config = engine.create_runtime_config()
        if hasattr(self._module, "DynamicShapesKernelSpecializationStrategy"):
            strategies = self._module.DynamicShapesKernelSpecializationStrategy
            config.dynamic_shapes_kernel_specialization_strategy = strategies.EAGER
        return engine.create_execution_context(config)

    def _is_input(self, engine: Any, name: str) -> bool:
        return bool(engine.get_tensor_mode(name) == self._module.TensorIOMode.INPUT)

    def _check_bindings(self, file: str, engine: Any) -> None:
        """Raises BundleError where the plan's inputs and outputs are not those that the set's manifest describes."""
        plan = next(engine for engine in self.described.engines() if engine.file == file)
        described = {part.name: part.dtype for part in (*plan.inputs, *plan.outputs)}
        types = self._module.DataType
        words = {types.FLOAT: "float32", types.HALF: "float16", types.BF16: "bfloat16", types.INT64: "int64"}
        words[types.UINT8] = "uint8"
        there = {name: words.get(engine.get_tensor_dtype(name)) for name in _names(engine)}
        if there != described:
            differing = sorted(
                name for name in there.keys() | described.keys() if there.get(name) != described.get(name)
            )
            raise BundleError(
                f"{self.described.folder / file}: inputs and outputs of plan and manifest differ: "
                f"{', '.join(differing)}"
            )

    def failed(self, file: str, what: str) -> BundleError:
        """What TensorRT has said last of a plan that it cannot ``what``."""
        said = self._log.errors[-1] if self._log.errors else "it does not say why"
        return BundleError(f"{self.described.folder / file}: TensorRT cannot {what} it: {said}")

    def _refused(self, file: str) -> BundleError:
        return BundleError(f"{self.failed(file, 'load')}; build it again with `latentloop build-engines --force`")


class TensorRtGraph:
    """A DeviceGraph; see there."""

    capturable = True

    def __init__(self, engines: Engines, file: str, context: Any, inputs: set[str]) -> None:
        self.name = file
        self._engines, self._context, self._inputs = engines, context, inputs
        self._shapes: dict[str, tuple[int, ...]] = {}

    def enqueue(self, tensors: Mapping[str, Tensor], stream: Stream) -> None:
        """Sets addresses, and shapes where they have changed."""
        context = self._context
        for name, tensor in tensors.items():
            if name in self._inputs and self._shapes.get(name) != tensor.shape:
                if not context.set_input_shape(name, tensor.shape):
                    raise self._engines.failed(self.name, "run")
                self._shapes[name] = tensor.shape
            if not context.set_tensor_address(name, tensor.pointer):
                raise self._engines.failed(self.name, "run")
        if not context.execute_async_v3(stream.handle):
            raise self._engines.failed(self.name, "run")


def _names(engine: Any) -> list[str]:
    return [engine.get_tensor_name(n) for n in range(engine.num_io_tensors)]
