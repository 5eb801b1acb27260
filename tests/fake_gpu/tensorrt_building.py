"""A simulation of TensorRT's builder: a plan contains the network's ONNX model unchanged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fake_gpu.driver import FakeDriver
from fake_gpu.tensorrt_parsing import INetworkDefinition
from fake_gpu.tensorrt_plan import Plan
from fake_gpu.tensorrt_types import (
    BuilderFlag,
    ComputeCapability,
    IHostMemory,
    ILogger,
    check_logger,
)

TIMINGS = b"timings of the simulated TensorRT\n"


class IOptimizationProfile:
    def __init__(self) -> None:
        self.shapes: dict[str, list[list[int]]] = {}

    def set_shape(self, input: str, min: Sequence[int], opt: Sequence[int], max: Sequence[int]) -> None:
        self.shapes[input] = [list(min), list(opt), list(max)]


class ITimingCache:
    """The names of the nodes that were timed."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = set(names)

    def serialize(self) -> IHostMemory:
        return IHostMemory(TIMINGS + "\n".join(sorted(self.names)).encode())


class IBuilderConfig:
    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self.flags = {BuilderFlag.TF32}
        self.profiles: list[IOptimizationProfile] = []
        self.capabilities: list[ComputeCapability] = []
        self.timings: ITimingCache | None = None

    def set_flag(self, flag: BuilderFlag) -> None:
        self.flags.add(flag)

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.flags.discard(flag)

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
        """Returns None without a GPU, and for data that is not a timing cache."""
        content = bytes(serialized_timing_cache)
        if self._builder.architecture() is None:
            self._builder.error("Cuda Runtime (no CUDA-capable device is detected)")
            return None
        if content and not content.startswith(TIMINGS):
            self._builder.error("the timing cache has another header")
            return None
        return ITimingCache(content[len(TIMINGS) :].decode().split("\n") if content else [])

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        self.timings = cache
        return True

    def get_timing_cache(self) -> ITimingCache | None:
        return self.timings


class Builder:
    """``library`` and ``version`` are the module's; ``driver`` is the GPU's, or None without a GPU."""

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
        """Returns the GPU's architecture, for example "sm90", or None without a GPU."""
        return None if self._driver is None else "sm{}{}".format(*self._driver.compute_capability)

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        # All networks of TensorRT for RTX are strongly typed.
        return INetworkDefinition(is_strongly_typed=not self._needs_gpu or bool(flags))

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig(self)

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory | None:
        """Returns a plan, or None, with an error in the log, if the network is invalid or not strongly typed."""
        reason = _invalid_reason(network, config)
        architectures = [_name(capability, self.architecture()) for capability in config.capabilities]
        if self._needs_gpu or not architectures:
            architectures = [self.architecture()]
        valid = [name for name in architectures if name is not None]
        if reason is None and valid != architectures:
            reason = "a compute capability is not set, and there is no GPU to read it from"
        if reason is not None:
            self.error(f"IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error ({reason})")
            return None
        assert network.model is not None
        profiles = [profile.shapes for profile in config.profiles]
        model = network.model.SerializeToString()
        if config.timings is not None:
            config.timings.names.update(node.name for node in network.model.graph.node)
        flags = sorted(flag.name for flag in config.flags)
        name = network.model.graph.name
        return IHostMemory(Plan(self._library, self._version, name, valid, profiles, flags, model).to_bytes())

    def error(self, text: str) -> None:
        self._logger.log(ILogger.ERROR, text)


def _name(capability: ComputeCapability, current: str | None) -> str | None:
    if capability == ComputeCapability.CURRENT:
        return current
    return None if capability == ComputeCapability.NONE else f"sm{int(capability)}"


def _invalid_reason(network: INetworkDefinition, config: IBuilderConfig) -> str | None:
    """Returns why a network cannot be built, or None."""
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
            for size, low, optimal, high in zip(tensor.shape, *shapes, strict=True):
                if not low <= optimal <= high or (size != -1 and not low == optimal == high == size):
                    return f"Dimension mismatch for tensor {tensor.name} and profile {number}"
    return None
