"""TensorRT under its two names, ``tensorrt`` for data centres and ``tensorrt_rtx``: nearly one Python module.

Both build strongly typed networks: a graph's own types are the precision. TensorRT for RTX builds for architectures
that need not be there, and compiles the rest where an engine is loaded; TensorRT times kernels on the GPU here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentloop.backends.gpu.tensorrt_module import error_log, tensorrt_module
from latentloop.bundles.manifest import BATCH
from latentloop.engines.engine_set import FLAVOURS, Profile, Tensor, architecture_of
from latentloop.errors import BundleError, MissingError
from latentloop.kernels.driver import MissingGpuError, open_driver

EXTRAS = {"tensorrt": "trt", "tensorrt_rtx": "rtx"}
OLDEST = 80  # sm75 has neither bfloat16 nor, in TensorRT for RTX, products of float32
ELEMENTS = {"float32": "FLOAT", "float16": "HALF", "bfloat16": "BF16", "int64": "INT64", "uint8": "UINT8"}


@dataclass(frozen=True)
class Plan:
    """A built engine: its bytes, as a buffer, and what the builder's timings are now, where it keeps any."""

    data: Any
    timings: bytes | None


class TensorRtBuilder:
    """One of the two modules; ``name`` and ``version`` are the module's."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self.name: str = module.__name__
        self.version: str = module.__version__
        self.times = self.name == "tensorrt"  # on a GPU; TensorRT for RTX would ask for one to keep timings

    def architectures(self) -> tuple[str, ...]:
        """What it can build for here, as "sm90". Raises MissingError where that takes a GPU and there is none."""
        if not self.times:
            names = [
                match[1]
                for match in map(re.compile(r"SM(\d+)").fullmatch, dir(self._module.ComputeCapability))
                if match
            ]
            return tuple(f"sm{name}" for name in sorted(names, key=int) if int(name) >= OLDEST)
        try:
            driver = open_driver()
            with driver.use(0):
                capability = driver.capability()
        except MissingGpuError as error:
            raise MissingError(f"TensorRT builds engines on the GPU that they are for: {error}") from error
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
        """Builds an ONNX file, whose inputs and outputs must arrive in the network as they are.

        Raises BundleError with what parser or builder said.
        """
        module, logger = self._module, error_log(self._module)
        builder = module.Builder(logger)
        network = builder.create_network(1 << int(module.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = module.OnnxParser(network, logger)
        if not parser.parse_from_file(str(graph)):
            raise self._error("cannot read", graph, _parser_errors(parser) or logger.errors)
        there = [network.get_input(index) for index in range(network.num_inputs)]
        self._check(graph, "input", inputs, there)
        self._check(graph, "output", outputs, [network.get_output(index) for index in range(network.num_outputs)])
        config = builder.create_builder_config()
        config.clear_flag(module.BuilderFlag.TF32)
        config.set_flag(module.BuilderFlag.STRICT_NANS)  # a draw tells logits that are not finite by comparisons
        for profile in profiles:
            config.add_optimization_profile(_optimisation(builder.create_optimization_profile(), inputs, profile))
        if self.times:
            config.set_timing_cache(config.create_timing_cache(timings or b""), ignore_mismatch=False)
        else:
            config.num_compute_capabilities = 1
            config.set_compute_capability(getattr(module.ComputeCapability, architecture.upper()), 0)
        data = builder.build_serialized_network(network, config)
        if data is None:
            raise self._error(f"cannot build for {architecture}", graph, logger.errors)
        return Plan(data, bytes(config.get_timing_cache().serialize()) if self.times else None)

    def _check(self, graph: Path, kind: str, expected: Collection[Tensor], found: Sequence[Any]) -> None:
        """No input or output is dropped, or has another type or shape than the graph says."""
        by_name = {tensor.name: tensor for tensor in found}
        for tensor in expected:
            if tensor.name not in by_name:
                raise self._error(f"drops the {kind} {tensor.name!r} of", graph, [])
            there = by_name.pop(tensor.name)
            shape = [-1 if size == BATCH else size for size in tensor.shape]
            if list(there.shape) != shape or there.dtype != getattr(self._module.DataType, ELEMENTS[tensor.dtype]):
                said = f"as {there.dtype} {list(there.shape)}, expected {tensor.dtype} {shape}"
                raise self._error(f"reads the {kind} {tensor.name!r} {said}, of", graph, [])
        if by_name:
            raise self._error(f"adds the {kind} {', '.join(by_name)} to", graph, [])

    def _error(self, what: str, graph: Path, said: list[str]) -> BundleError:
        text = "; ".join(said[:3])
        return BundleError(f"{self.name} {self.version} {what} {graph.name}" + (f": {text[:1000]}" if text else ""))


def open_flavour(name: str | None = None) -> TensorRtBuilder:
    """The flavour of that name, or the one that is installed. Raises MissingError, with the pip line, without it."""
    broken = None
    for candidate in [name] if name else FLAVOURS:
        try:
            if (module := tensorrt_module(candidate)) is not None:
                return TensorRtBuilder(module)
        except MissingError as error:
            broken = error
    if broken is not None:
        raise broken
    names = " or ".join([name] if name else FLAVOURS)
    lines = " or ".join(f'pip install "latentloop[{EXTRAS[flavour]}]"' for flavour in ([name] if name else FLAVOURS))
    raise MissingError(f"building engines needs {names}: {lines}")


def _optimisation(made: Any, inputs: Collection[Tensor], profile: Profile) -> Any:
    """``made`` with the shapes of every input that depends on the batch."""
    sizes = (profile.minimum, profile.optimum, profile.maximum)
    for tensor in inputs:
        if BATCH in tensor.shape:
            made.set_shape(
                tensor.name, *([batch if size == BATCH else size for size in tensor.shape] for batch in sizes)
            )
    return made


def _parser_errors(parser: Any) -> list[str]:
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    return [f"node {error.node_name()} ({error.node_operator()}): {error.desc()}" for error in errors]
