"""Parts of programs that use a driver and TensorRT, for the tests of the fake GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from fake_gpu.driver import FakeDriver
from latentloop.kernels.driver import Stream

SIZE = 1024  # bytes
ELEMENTS = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}
WIDTH = 64  # values: a row of float32 has the size of TensorRT's alignment


def sum_model(folder: Path, dtype: str = "float32") -> str:
    """Writes the model z = x + y, each [batch, WIDTH]; returns its path."""
    infos = [helper.make_tensor_value_info(name, ELEMENTS[dtype], ["batch", WIDTH]) for name in "xyz"]
    graph = helper.make_graph([helper.make_node("Add", ["x", "y"], ["z"], "the sum")], "sum", infos[:2], infos[2:])
    path = folder / f"{dtype}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return str(path)


def recording_logger(module: Any) -> Any:
    """Returns a logger of a TensorRT module that appends errors to ``errors``."""

    def initialise(self: Any) -> None:
        module.ILogger.__init__(self)
        self.errors = []

    def log(self: Any, severity: Any, message: str) -> None:
        if severity in (module.ILogger.Severity.ERROR, module.ILogger.INTERNAL_ERROR):
            self.errors.append(message)

    return type("Log", (module.ILogger,), {"__init__": initialise, "log": log})()


def build(module: Any, model: str, max_batch: int = 3, capabilities: tuple[str, ...] = ()) -> Any:
    """Builds a plan of ``sum_model`` with two profiles: batches of 1, and of 1 to ``max_batch``."""
    log = recording_logger(module)
    builder = module.Builder(log)
    network = builder.create_network(1 << int(module.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    assert module.OnnxParser(network, log).parse_from_file(model), log.errors
    config = builder.create_builder_config()
    config.clear_flag(module.BuilderFlag.TF32)
    config.set_flag(module.BuilderFlag.STRICT_NANS)
    for largest in (1, max_batch):
        profile = builder.create_optimization_profile()
        for name in "xy":
            profile.set_shape(name, (1, WIDTH), (largest, WIDTH), (largest, WIDTH))
        config.add_optimization_profile(profile)
    config.num_compute_capabilities = len(capabilities)
    for index, name in enumerate(capabilities):
        assert config.set_compute_capability(getattr(module.ComputeCapability, name), index)
    plan = builder.build_serialized_network(network, config)
    assert plan is not None, log.errors
    return plan


def filled_host_memory(driver: FakeDriver, size: int = SIZE) -> NDArray[np.uint8]:
    """Returns page-locked memory with the values 0, 1, 2, …"""
    values = driver.host_memory(size)
    values[:] = np.arange(size) % 251
    return values


def zeroed_memory(driver: FakeDriver, stream: Stream) -> int:
    """Returns the address of SIZE bytes of zeros. The host has waited for them."""
    pointer = driver.allocate(SIZE, stream)
    driver.zero(pointer, SIZE, stream)
    driver.synchronize(driver.record(stream))
    return pointer
