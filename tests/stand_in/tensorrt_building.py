"""TensorRT's builder, played: networks are ONNX models, and a plan holds one as it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from stand_in.driver import FakeDriver
from stand_in.plan import Plan
from stand_in.tensorrt_types import (
    ELEMENTS,
    BuilderFlag,
    ComputeCapability,
    DataType,
    Dims,
    ErrorCode,
    IHostMemory,
    ILogger,
    check_logger,
)

TIMINGS = b"a stand-in's timings\n"


@dataclass(frozen=True)
class ITensor:
    name: str
    dtype: DataType
    shape: Dims


class INetworkDefinition:
    def __init__(self, is_strongly_typed: bool) -> None:
        self.name = "Unnamed Network 0"
        self.is_strongly_typed = is_strongly_typed
        self.model: onnx.ModelProto | None = None
        self.inputs: list[ITensor] = []
        self.outputs: list[ITensor] = []

    @property
    def num_inputs(self) -> int:
        return len(self.inputs)

    @property
    def num_outputs(self) -> int:
        return len(self.outputs)

    @property
    def num_layers(self) -> int:
        return len(self.model.graph.node) if self.model is not None else 0

    def get_input(self, index: int) -> ITensor:
        return self.inputs[index]

    def get_output(self, index: int) -> ITensor:
        return self.outputs[index]


@dataclass(frozen=True)
class IParserError:
    """The real one's getters are methods, too."""

    of_code: ErrorCode
    of_desc: str
    of_node: int = -1
    of_name: str = ""
    of_operator: str = ""

    def code(self) -> ErrorCode:
        return self.of_code

    def desc(self) -> str:
        return self.of_desc

    def node(self) -> int:
        return self.of_node

    def node_name(self) -> str:
        return self.of_name

    def node_operator(self) -> str:
        return self.of_operator


class OnnxParser:
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network, self._logger = network, check_logger(logger)
        self._errors: list[IParserError] = []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> IParserError:
        return self._errors[index]

    def clear_errors(self) -> None:
        self._errors.clear()

    def parse_from_file(self, model: str) -> bool:
        """Weights beside the file are read with it."""
        if not isinstance(model, str):
            raise TypeError(f"parse_from_file(): incompatible function arguments: {type(model).__name__}")
        if not Path(model).is_file():
            text = f"Input file cannot be found, or is not a regular file: {model}"
            return self._fail(IParserError(ErrorCode.INVALID_VALUE, text))
        try:
            parsed = onnx.load(model)
        except Exception:  # protobuf's and the file system's own kinds
            return self._fail(IParserError(ErrorCode.MODEL_DESERIALIZE_FAILED, "Failed to parse the ONNX model."))
        return self._take(parsed)

    def _take(self, parsed: onnx.ModelProto) -> bool:
        functions = {(function.domain, function.name) for function in parsed.functions}
        for place, node in enumerate(parsed.graph.node):
            if node.domain and (node.domain, node.op_type) not in functions:
                text = "Plugin not found, are the plugin name, version, and namespace correct?"
                return self._fail(IParserError(ErrorCode.INVALID_NODE, text, place, node.name, node.op_type))
        constants = {tensor.name for tensor in parsed.graph.initializer}
        for values, tensors in (
            (parsed.graph.input, self._network.inputs),
            (parsed.graph.output, self._network.outputs),
        ):
            for value in values:
                kind = value.type.tensor_type
                if value.name in constants:
                    continue
                if kind.elem_type not in ELEMENTS:
                    text = f"the type of {value.name} is not supported"
                    return self._fail(IParserError(ErrorCode.UNSUPPORTED_NODE_DATATYPE, text))
                sizes = Dims(size.dim_value if size.HasField("dim_value") else -1 for size in kind.shape.dim)
                tensors.append(ITensor(value.name, ELEMENTS[kind.elem_type], sizes))
        self._network.model = parsed
        return True

    def _fail(self, error: IParserError) -> bool:
        self._errors.append(error)
        text = f"In node {error.node()} with name: {error.node_name()} and operator: {error.node_operator()}"
        self._logger.log(ILogger.ERROR, f"{text}: {error.code().name}: {error.desc()}")
        return False


class IOptimizationProfile:
    def __init__(self) -> None:
        self.shapes: dict[str, list[list[int]]] = {}

    def set_shape(self, input: str, min: Sequence[int], opt: Sequence[int], max: Sequence[int]) -> None:
        self.shapes[input] = [list(min), list(opt), list(max)]

    def get_shape(self, input: str) -> list[Dims]:
        return [Dims(shape) for shape in self.shapes.get(input, [])]


class ITimingCache:
    """The names of all that was timed."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = set(names)

    def serialize(self) -> IHostMemory:
        return IHostMemory(TIMINGS + "\n".join(sorted(self.names)).encode())


class IBuilderConfig:
    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._flags = {BuilderFlag.TF32}
        self.profiles: list[IOptimizationProfile] = []
        self.capabilities: list[ComputeCapability] = []
        self.timings: ITimingCache | None = None
        self.builder_optimization_level = 3

    def set_flag(self, flag: BuilderFlag) -> None:
        self._flags.add(flag)

    def clear_flag(self, flag: BuilderFlag) -> None:
        self._flags.discard(flag)

    def get_flag(self, flag: BuilderFlag) -> bool:
        return flag in self._flags

    def set_memory_pool_limit(self, pool: int, pool_size: int) -> None:
        """Without effect here."""

    @property
    def num_optimization_profiles(self) -> int:
        return len(self.profiles)

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1

    @property
    def num_compute_capabilities(self) -> int:
        return len(self.capabilities)

    @num_compute_capabilities.setter
    def num_compute_capabilities(self, count: int) -> None:
        self.capabilities = [ComputeCapability.NONE] * count

    def set_compute_capability(self, compute_capability: ComputeCapability, index: int) -> bool:
        if compute_capability == ComputeCapability.NONE or not 0 <= index < len(self.capabilities):
            return False
        self.capabilities[index] = compute_capability
        return True

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache | None:
        """None without a GPU, and for what is no such cache."""
        given = bytes(serialized_timing_cache)
        if self._builder.architecture() is None:
            self._builder.error("Cuda Runtime (no CUDA-capable device is detected)")
            return None
        if given and not given.startswith(TIMINGS):
            self._builder.error("the timing cache has another header")
            return None
        return ITimingCache(given[len(TIMINGS) :].decode().split("\n") if given else [])

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        self.timings = cache
        return True

    def get_timing_cache(self) -> ITimingCache | None:
        return self.timings


class Builder:
    """``library`` and ``version`` are the module's; ``driver``: the GPU there is, if any."""

    def __init__(self, logger: ILogger, library: str, version: str, driver: FakeDriver | None) -> None:
        self._logger = check_logger(logger)
        self._library, self._version, self._driver = library, version, driver
        if self._needs_gpu and driver is None:
            self.error("Cuda Runtime (no CUDA-capable device is detected)")
            raise TypeError("pybind11::init(): factory function returned nullptr")

    @property
    def _needs_gpu(self) -> bool:
        return self._library == "tensorrt"

    def architecture(self) -> str | None:
        """The GPU's."""
        return None if self._driver is None else "sm{}{}".format(*self._driver.compute_capability)

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        # TensorRT for RTX knows no other networks.
        return INetworkDefinition(is_strongly_typed=not self._needs_gpu or bool(flags))

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig(self)

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory | None:
        """None where the real one would refuse it, or where it would not be built as this program must have it."""
        reason = _reason(network, config)
        architectures = [_name(capability, self.architecture()) for capability in config.capabilities]
        if self._needs_gpu or not architectures:
            architectures = [self.architecture()]
        known = [name for name in architectures if name is not None]
        if reason is None and known != architectures:
            reason = "a compute capability is not set, and there is no GPU to take it from"
        if reason is not None:
            self.error(f"IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error ({reason})")
            return None
        assert network.model is not None
        profiles = [profile.shapes for profile in config.profiles]
        model = network.model.SerializeToString()
        if config.timings is not None:
            config.timings.names.update(node.name for node in network.model.graph.node)
        return IHostMemory(
            Plan(self._library, self._version, network.model.graph.name, known, profiles, model).to_bytes()
        )

    def error(self, text: str) -> None:
        self._logger.log(ILogger.ERROR, text)


def _name(capability: ComputeCapability, current: str | None) -> str | None:
    if capability == ComputeCapability.CURRENT:
        return current
    return None if capability == ComputeCapability.NONE else f"sm{int(capability)}"


def _reason(network: INetworkDefinition, config: IBuilderConfig) -> str | None:
    """Why a network cannot be built."""
    if not network.is_strongly_typed:
        return "the network is not strongly typed"
    if not network.outputs:
        return "Network must have at least one output"
    dynamic = [tensor for tensor in network.inputs if -1 in tensor.shape]
    if dynamic and not config.profiles:
        return "Network has dynamic or shape inputs, but no optimization profile has been defined"
    for number, profile in enumerate(config.profiles):
        for tensor in dynamic:
            shapes = profile.shapes.get(tensor.name)
            if shapes is None:
                return f"profile {number} has no shapes for {tensor.name}"
            if any(len(shape) != len(tensor.shape) for shape in shapes):
                return f"Dimension mismatch for tensor {tensor.name} and profile {number}"
            for size, least, best, most in zip(tensor.shape, *shapes, strict=True):
                if not least <= best <= most or (size != -1 and not least == best == most == size):
                    return f"Dimension mismatch for tensor {tensor.name} and profile {number}"
    return None
