"""What programs do with a driver and with TensorRT, as tests of the stand-in need it."""

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
WIDTH = 64  # values: as float32 one entry is as long as addresses must be aligned


def sum_model(folder: Path, dtype: str = "float32") -> str:
    """z = x + y, [batch, 64] each."""
    infos = [helper.make_tensor_value_info(name, ELEMENTS[dtype], ["batch", WIDTH]) for name in "xyz"]
    graph = helper.make_graph([helper.make_node("Add", ["x", "y"], ["z"], "the sum")], "sum", infos[:2], infos[2:])
    path = folder / f"{dtype}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return str(path)


def logger_of(module: Any) -> Any:
    """As a program makes one."""

    def start(self: Any) -> None:
        module.ILogger.__init__(self)
        self.errors = []

    def log(self: Any, severity: Any, message: str) -> None:
        if severity in (module.ILogger.Severity.ERROR, module.ILogger.INTERNAL_ERROR):
            self.errors.append(message)

    return type("Log", (module.ILogger,), {"__init__": start, "log": log})()


def build(module: Any, model: str, most: int = 3, capabilities: tuple[str, ...] = ()) -> Any:
    """Two profiles: batches of 1, and up to ``most``."""
    log = logger_of(module)
    builder = module.Builder(log)
    network = builder.create_network(1 << int(module.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    assert module.OnnxParser(network, log).parse_from_file(model), log.errors
    config = builder.create_builder_config()
    config.clear_flag(module.BuilderFlag.TF32)
    config.set_flag(module.BuilderFlag.STRICT_NANS)
    for largest in (1, most):
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


def filled(driver: FakeDriver, size: int = SIZE) -> NDArray[np.uint8]:
    """Page-locked memory with values."""
    values = driver.host_memory(size)
    values[:] = np.arange(size) % 251
    return values


def ready(driver: FakeDriver, stream: Stream) -> int:
    """Memory of zeros that the host has waited for."""
    pointer = driver.allocate(SIZE, stream)
    driver.zero(pointer, SIZE, stream)
    driver.synchronize(driver.record(stream))
    return pointer
