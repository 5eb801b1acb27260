"""A simulation of TensorRT's Python modules ``tensorrt`` and ``tensorrt_rtx``."""

from __future__ import annotations

from functools import partial
from types import ModuleType
from typing import Any

from fake_gpu import tensorrt_building as building
from fake_gpu import tensorrt_running as running
from fake_gpu import tensorrt_types as types
from fake_gpu.driver import FakeDriver
from fake_gpu.tensorrt_parsing import OnnxParser

LIBRARIES = {"tensorrt": "11.4.0.106", "tensorrt_rtx": "1.7.1.116"}  # versions


def tensorrt_module(
    driver: FakeDriver | None = None, library: str = "tensorrt", version: str | None = None
) -> ModuleType:
    """Returns a module ``library``, "tensorrt" or "tensorrt_rtx", for the GPUs of ``driver``; None: without a GPU.

    As in the real libraries, "tensorrt" builds only for the machine's own GPU, and only "tensorrt_rtx" builds without a
    GPU. A plan is an ONNX model with a head for library, version, architectures and profiles. An engine's work is
    enqueued on ``driver``, whose device must be current, and ONNX Runtime executes it on the CPU. A run that cannot be
    simulated, or that is an error on a GPU, raises FakeGpuError. Where the real library returns False or None, so does
    this module, with an error in the log.
    """
    module: Any = ModuleType(library)
    module.__version__ = version or LIBRARIES[library]
    is_rtx = library == "tensorrt_rtx"
    module.NetworkDefinitionCreationFlag = types.RtxNetworkFlag if is_rtx else types.NetworkFlag
    for name in (
        "BuilderFlag",
        "DataType",
        "Dims",
        "ErrorCode",
        "ExecutionContextAllocationStrategy",
        "IHostMemory",
        "ILogger",
        "Logger",
        "TensorIOMode",
        *(("ComputeCapability", "DynamicShapesKernelSpecializationStrategy") if is_rtx else ()),
    ):
        setattr(module, name, getattr(types, name))
    module.OnnxParser = OnnxParser
    settings = {"library": library, "version": module.__version__, "driver": driver}
    module.Builder = partial(building.Builder, **settings)
    module.Runtime = partial(running.Runtime, **settings)
    return module  # type: ignore[no-any-return]
