"""Building engines with TensorRT, whose two Python modules, ``tensorrt`` and ``tensorrt_rtx``, have nearly one API.

Networks are strongly typed: the types in the graph are the precision. TensorRT for RTX (``tensorrt_rtx``) builds for
any GPU architecture without a GPU, and finishes compilation when an engine is loaded. TensorRT for data centres
(``tensorrt``) times kernels on the machine's GPU, and builds for this GPU only.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentloop.backends.gpu.tensorrt_module import error_log, tensorrt_module
from latentloop.bundles.codec import Tensor
from latentloop.bundles.manifest import BATCH
from latentloop.engines.engine_set import FLAVOURS, Profile, architecture_of
from latentloop.errors import BundleError, MissingError
from latentloop.kernels.driver import MissingGpuError, open_driver
from latentloop.kernels.element_types import ELEMENT_TYPES

EXTRAS = {"tensorrt": "trt", "tensorrt_rtx": "rtx"}  # of this package, by module
OLDEST = 80  # sm75 has no bfloat16, and in TensorRT for RTX no float32 products


@dataclass(frozen=True)
class Plan:
    """A built engine: its bytes as a buffer, and the updated timing cache of a builder that has one."""

    data: Any
    timings: bytes | None


class TensorRtBuilder:
    """Builds engines with one of the two modules; ``name`` and ``version`` are the module's."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self.name: str = module.__name__
        self.version: str = module.__version__
        self.times_kernels = self.name == "tensorrt"  # on the GPU, with a timing cache

    def architectures(self) -> tuple[str, ...]:
        """Returns the architectures that it can build for, such as "sm90".

        Raises MissingError if it needs a GPU and there is none.
        """
        if not self.times_kernels:
            numbers = re.findall(r"\bSM(\d+)\b", " ".join(dir(self._module.ComputeCapability)))
            return tuple(f"sm{number}" for number in sorted(map(int, numbers)) if number >= OLDEST)
        try:
            driver = open_driver()
            with driver.use(0):
                capability = driver.capability()
        except MissingGpuError as error:
            raise MissingError(f"TensorRT builds engines on the GPU that will run them: {error}") from error
        return (architecture_of(capability),)

    def build(
        self,
        graph: Path,
        inputs: Collection[Tensor],
        outputs: Collection[Tensor],
        profiles: Sequence[Profile],
        architecture: str,
        timings: bytes | None = None,
    ) -> Plan:
        """Builds the engine of an ONNX file.

        ``inputs`` and ``outputs``: those of the graph, which the network must have unchanged. ``timings``: the timing
        cache of earlier builds. Raises BundleError with the parser's or builder's errors.
        """
        module, logger = self._module, error_log(self._module)
        builder = module.Builder(logger)
        network = builder.create_network(1 << int(module.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = module.OnnxParser(network, logger)
        if not parser.parse_from_file(str(graph)):
            raise self._error("cannot read", graph, _parser_errors(parser) or logger.errors)
        self._check(graph, "input", inputs, [network.get_input(index) for index in range(network.num_inputs)])
        self._check(graph, "output", outputs, [network.get_output(index) for index in range(network.num_outputs)])
        config = builder.create_builder_config()
        config.clear_flag(module.BuilderFlag.TF32)
        config.set_flag(module.BuilderFlag.STRICT_NANS)  # the draw detects logits that are not finite by comparisons
        for profile in profiles:
            config.add_optimization_profile(_with_shapes(builder.create_optimization_profile(), inputs, profile))
        if self.times_kernels:
            config.set_timing_cache(config.create_timing_cache(timings or b""), ignore_mismatch=False)
        else:
            config.num_compute_capabilities = 1
            config.set_compute_capability(getattr(module.ComputeCapability, architecture.upper()), 0)
        data = builder.build_serialized_network(network, config)
        if data is None:
            raise self._error(f"cannot build for {architecture}", graph, logger.errors)
        return Plan(data, bytes(config.get_timing_cache().serialize()) if self.times_kernels else None)

    def _check(self, graph: Path, kind: str, expected: Collection[Tensor], tensors: Sequence[Any]) -> None:
        """Raises BundleError if the network's inputs or outputs differ in name, type or shape from those expected."""
        by_name = {tensor.name: tensor for tensor in tensors}
        for tensor in expected:
            if tensor.name not in by_name:
                raise self._error(f"drops the {kind} {tensor.name!r} of", graph, [])
            parsed = by_name.pop(tensor.name)
            dtype = getattr(self._module.DataType, ELEMENT_TYPES[tensor.dtype].tensorrt)
            shape = [-1 if size == BATCH else size for size in tensor.shape]
            if list(parsed.shape) != shape or parsed.dtype != dtype:
                difference = f"as {parsed.dtype} {list(parsed.shape)}, expected {tensor.dtype} {shape}"
                raise self._error(f"reads the {kind} {tensor.name!r} {difference}, of", graph, [])
        if by_name:
            raise self._error(f"adds the {kind} {', '.join(by_name)} to", graph, [])

    def _error(self, problem: str, graph: Path, messages: list[str]) -> BundleError:
        text = "; ".join(messages[:3])
        return BundleError(f"{self.name} {self.version} {problem} {graph.name}" + (f": {text[:1000]}" if text else ""))


def open_builder(name: str | None = None) -> TensorRtBuilder:
    """Returns the builder of the module ``name``, or of the first that is installed.

    Raises MissingError, with the pip command, if it is not installed.
    """
    failure = None
    modules = [name] if name else FLAVOURS
    for candidate in modules:
        try:
            if (module := tensorrt_module(candidate)) is not None:
                return TensorRtBuilder(module)
        except MissingError as error:
            failure = error
    if failure is not None:
        raise failure
    lines = " or ".join(f'pip install "latentloop[{EXTRAS[module]}]"' for module in modules)
    raise MissingError(f"building engines needs {' or '.join(modules)}: {lines}")


def _with_shapes(optimisation: Any, inputs: Collection[Tensor], profile: Profile) -> Any:
    """Sets the shapes of every input that depends on the batch size; returns the optimisation profile."""
    sizes = (profile.minimum, profile.optimum, profile.maximum)
    for tensor in inputs:
        if BATCH in tensor.shape:
            shapes = ([batch if size == BATCH else size for size in tensor.shape] for batch in sizes)
            optimisation.set_shape(tensor.name, *shapes)
    return optimisation


def _parser_errors(parser: Any) -> list[str]:
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    return [f"node {error.node_name()} ({error.node_operator()}): {error.desc()}" for error in errors]
