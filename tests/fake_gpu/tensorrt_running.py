"""A simulation of TensorRT's runtime: an engine enqueues work on the simulated GPU, and the CPU executes it."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence

import onnx

from fake_gpu.accesses import Access, check_no_overlap
from fake_gpu.driver import FakeDriver
from fake_gpu.onnx_execution import BoundTensor, bound_run, cpu_session
from fake_gpu.scheduler import FakeGpuError
from fake_gpu.tensorrt_plan import Plan, read_plan
from fake_gpu.tensorrt_types import (
    ELEMENTS,
    DataType,
    Dims,
    DynamicShapesKernelSpecializationStrategy,
    ExecutionContextAllocationStrategy,
    ILogger,
    TensorIOMode,
    check_logger,
)
from latentloop.kernels.driver.stream import LEGACY, Stream

ALIGNMENT = 256  # bytes; required by IExecutionContext::setTensorAddress in NvInferRuntime.h
MEMORY = 256  # bytes of a context's internal memory, which concurrent runs must not share

Sizes = tuple[int | str, ...]  # a name, possibly empty, for a size that is unknown before a run


class Runtime:
    """``library`` and ``version`` are the module's."""

    def __init__(self, logger: ILogger, library: str, version: str, driver: FakeDriver | None) -> None:
        self._logger = check_logger(logger)
        self._library, self._version, self._driver = library, version, driver

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        """Returns an engine for the current device, or None, with an error in the log, if TensorRT would not run it."""
        if self._driver is None:
            return self._fail("Cuda Runtime (no CUDA-capable device is detected)")
        plan = read_plan(bytes(serialized_engine))
        if plan is None:
            return self._fail("Serialization assertion magicTag == kPLAN_MAGIC_TAG failed")
        if (plan.library, plan.version) != (self._library, self._version):
            return self._fail(f"Version tag does not match: {plan.version}, expected {self._version}")
        architecture = "sm{}{}".format(*self._driver.capability())
        if architecture not in plan.architectures:
            return self._fail(f"the engine is for {', '.join(plan.architectures)}, the device is {architecture}")
        return ICudaEngine(plan, self._driver, self._logger)

    def _fail(self, text: str) -> ICudaEngine | None:
        self._logger.log(ILogger.ERROR, f"IRuntime::deserializeCudaEngine: Error Code 1: {text}")
        return None


class IRuntimeConfig:
    def __init__(self) -> None:
        self.dynamic_shapes_kernel_specialization_strategy = DynamicShapesKernelSpecializationStrategy.LAZY


class ICudaEngine:
    def __init__(self, plan: Plan, driver: FakeDriver, logger: ILogger) -> None:
        self.plan, self.driver, self.logger = plan, driver, logger
        self.name = plan.name
        self.session = cpu_session(plan.model)
        graph = onnx.load_from_string(plan.model).graph
        constants = {tensor.name for tensor in graph.initializer}
        inputs = [value for value in graph.input if value.name not in constants]
        self.inputs: dict[str, Sizes] = {value.name: _sizes(value) for value in inputs}
        self.outputs: dict[str, Sizes] = {value.name: _sizes(value) for value in graph.output}
        self._types = {value.name: ELEMENTS[value.type.tensor_type.elem_type] for value in (*inputs, *graph.output)}

    @property
    def num_io_tensors(self) -> int:
        return len(self._types)

    @property
    def num_optimization_profiles(self) -> int:
        return max(len(self.plan.profiles), 1)

    def get_tensor_name(self, index: int) -> str:
        return [*self.inputs, *self.outputs][index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        if name in self.inputs:
            return TensorIOMode.INPUT
        return TensorIOMode.OUTPUT if name in self.outputs else TensorIOMode.NONE

    def get_tensor_dtype(self, name: str) -> DataType:
        return self._types[name]

    def get_tensor_shape(self, name: str) -> Dims:
        return Dims(size if isinstance(size, int) else -1 for size in {**self.inputs, **self.outputs}[name])

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Dims]:
        """Returns the minimal, optimal and maximal shape of an input."""
        profile = self.plan.profiles[profile_index] if self.plan.profiles else {}
        return [Dims(shape) for shape in profile.get(name, [list(self.get_tensor_shape(name))] * 3)]

    def create_runtime_config(self) -> IRuntimeConfig:
        return IRuntimeConfig()

    def create_execution_context(
        self, strategy: ExecutionContextAllocationStrategy | IRuntimeConfig = ExecutionContextAllocationStrategy.STATIC
    ) -> IExecutionContext:
        """Returns a context on the current device."""
        return IExecutionContext(self)


class IExecutionContext:
    """A context. Its runs must not be concurrent, because they share its internal memory, which is freed with it."""

    def __init__(self, engine: ICudaEngine) -> None:
        self.engine, self.name = engine, engine.name
        self.active_optimization_profile = 0
        self._shapes: dict[str, Dims] = {}
        self._addresses: dict[str, int] = {}
        self._has_run = False  # outside a capture, with these shapes
        self._driver = engine.driver
        pointer = self._driver.reserve(MEMORY)
        self._memory = Access("the context's internal memory", pointer, MEMORY, True)
        weakref.finalize(self, self._driver.release, pointer).atexit = False

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        """Selects a profile and resets the shapes. A run on another stream must wait for this stream's work."""
        if not 0 <= profile_index < self.engine.num_optimization_profiles:
            return self._fail("setOptimizationProfileAsync", f"profile {profile_index} does not exist")
        stream = _stream(stream_handle)
        if self._driver.is_capturing(stream):
            return self._fail_capture("setOptimizationProfileAsync", stream)
        self._driver.enqueue(f"{self.name}: profile", stream, lambda: None, [self._memory])
        self.active_optimization_profile = profile_index
        self._shapes.clear()
        self._has_run = False
        return True

    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool:
        """Returns False for a shape outside the profile."""
        if name not in self.engine.inputs:
            return self._fail("setInputShape", f"there is no input {name}")
        new = Dims(shape)
        lowest, _, highest = self.engine.get_tensor_profile_shape(name, self.active_optimization_profile)
        if len(new) != len(lowest) or any(
            not low <= size <= high for low, size, high in zip(lowest, new, highest, strict=True)
        ):
            return self._fail(
                "setInputShape",
                f"Set dimensions are {list(new)} for {name}. Valid range for profile "
                f"{self.active_optimization_profile}: {list(lowest)}..{list(highest)}",
            )
        if self.get_tensor_shape(name) != new:
            self._has_run = False
        self._shapes[name] = new
        return True

    def set_tensor_address(self, name: str, memory: int) -> bool:
        """Returns False for an address that is not aligned."""
        if self.engine.get_tensor_mode(name) == TensorIOMode.NONE:
            return self._fail("setTensorAddress", f"there is no tensor {name}")
        if memory % ALIGNMENT:
            return self._fail("setTensorAddress", f"{name}: data must be aligned on {ALIGNMENT} byte boundary")
        self._addresses[name] = memory
        return True

    def get_tensor_shape(self, name: str) -> Dims:
        """Returns the shape, with -1 for sizes that the shapes set so far do not determine."""
        if name in self._shapes:
            return self._shapes[name]
        known = dict(self._named_sizes()) if name in self.engine.outputs else {}
        sizes = {**self.engine.inputs, **self.engine.outputs}[name]
        return Dims(size if isinstance(size, int) else known.get(size, -1) for size in sizes)

    def infer_shapes(self) -> list[str]:
        """Returns the names of the inputs without a shape."""
        return [name for name in self.engine.inputs if -1 in self.get_tensor_shape(name)]

    @property
    def all_binding_shapes_specified(self) -> bool:
        return not self.infer_shapes()

    def execute_async_v3(self, stream_handle: int) -> bool:
        """Enqueues a run. Returns False if a shape or an address is missing, and for the first run with these shapes
        during a capture.

        Raises FakeGpuError for memory that the GPU cannot use, for overlapping outputs and for races.
        """
        text = "enqueueV3"
        for name in self.infer_shapes():
            return self._fail(text, f"the shape of input {name} is not specified")
        sizes = set(self._named_sizes())
        if len(dict(sizes)) != len(sizes):
            return self._fail(text, f"inputs disagree about the sizes {sorted(sizes)}")
        for name in (*self.engine.inputs, *self.engine.outputs):
            if not self._addresses.get(name):
                return self._fail(text, f"Address is not set for tensor {name}. Call setTensorAddress before enqueue")
        stream = _stream(stream_handle)
        if self._driver.is_capturing(stream) and not self._has_run:
            return self._fail_capture(text, stream)
        tensors = [self._tensor(name) for name in (*self.engine.inputs, *self.engine.outputs)]
        accesses = [tensor.access() for tensor in tensors]
        check_no_overlap(self.name, accesses)
        run = bound_run(self.name, self.engine.session, tensors)
        self._driver.enqueue(self.name, stream, run, [*accesses, self._memory])
        self._has_run = True
        return True

    def _named_sizes(self) -> Iterable[tuple[str, int]]:
        for name, sizes in self.engine.inputs.items():
            for size, known in zip(sizes, self._shapes.get(name, ()), strict=False):
                if isinstance(size, str):
                    yield size, known

    def _tensor(self, name: str) -> BoundTensor:
        dtype, shape = self.engine.get_tensor_dtype(name).numpy, self.get_tensor_shape(name)
        if -1 in shape:
            raise FakeGpuError(f"{self.name}: the shape of {name} depends on values, which cannot be simulated")
        return BoundTensor(name, self._addresses[name], dtype, tuple(shape), name in self.engine.outputs)

    def _fail(self, call: str, text: str) -> bool:
        self.engine.logger.log(
            ILogger.ERROR, f"IExecutionContext::{call}: Error Code 3: API Usage Error (Parameter check failed: {text})"
        )
        return False

    def _fail_capture(self, call: str, stream: Stream) -> bool:
        self._driver.invalidate_capture(stream)
        self.engine.logger.log(
            ILogger.ERROR,
            f"IExecutionContext::{call}: Error Code 1: Cuda Runtime (operation not permitted when stream is capturing)",
        )
        return False


def _stream(handle: int) -> Stream:
    return Stream(handle) if handle else LEGACY


def _sizes(value: onnx.ValueInfoProto) -> Sizes:
    sizes = value.type.tensor_type.shape.dim
    return tuple(size.dim_value if size.HasField("dim_value") else size.dim_param for size in sizes)
