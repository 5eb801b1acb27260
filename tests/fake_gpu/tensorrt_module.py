"""TensorRT's Python modules, played: what a program gets by ``import tensorrt`` or ``import tensorrt_rtx``."""

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
    """The module ``library``, "tensorrt" or "tensorrt_rtx", of a version, on a machine whose GPUs ``driver`` drives.

    As the real ones: "tensorrt" builds for the GPU that is there alone, and only "tensorrt_rtx" builds without one.
    Plans are ONNX models with a head that says library, version, architectures and profiles. Their work is enqueued on
    ``driver``, whose device must be current, and is done by ONNX Runtime on the CPU. What a run that it cannot play, or
    that would go wrong on a GPU, asks for raises FakeGpuError; what the real library answers with False or None is
    answered so, with an error in the log.
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
