"""The enumerations and small classes of TensorRT's Python API that the simulation needs."""

from __future__ import annotations

from enum import IntEnum

import ml_dtypes
import numpy as np
from onnx import TensorProto


class LogSeverity(IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


class ILogger:
    """The base class of a program's logger, which overrides ``log``."""

    Severity = LogSeverity
    INTERNAL_ERROR = LogSeverity.INTERNAL_ERROR
    ERROR = LogSeverity.ERROR
    WARNING = LogSeverity.WARNING
    INFO = LogSeverity.INFO
    VERBOSE = LogSeverity.VERBOSE

    def __init__(self) -> None:
        self.is_initialized = True

    def log(self, severity: LogSeverity, msg: str) -> None:
        raise NotImplementedError("ILogger.log is pure virtual")


class Logger(ILogger):
    def __init__(self, min_severity: LogSeverity = LogSeverity.WARNING) -> None:
        super().__init__()
        self.min_severity = min_severity

    def log(self, severity: LogSeverity, msg: str) -> None:
        if severity <= self.min_severity:
            print(f"[TRT] [{severity.name}] {msg}")


def check_logger(logger: object) -> ILogger:
    """Raises TypeError, as TensorRT's constructors do, also if a subclass did not call ILogger.__init__."""
    if not isinstance(logger, ILogger) or not getattr(logger, "is_initialized", False):
        raise TypeError(f"incompatible constructor arguments: {type(logger).__name__} is not an initialised ILogger")
    return logger


class DataType(IntEnum):
    FLOAT = 0
    HALF = 1
    INT8 = 2
    INT32 = 3
    BOOL = 4
    UINT8 = 5
    BF16 = 7
    INT64 = 8

    @property
    def numpy(self) -> np.dtype[np.generic]:
        return _NUMPY[self]


class TensorIOMode(IntEnum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class NetworkFlag(IntEnum):
    STRONGLY_TYPED = 1


class RtxNetworkFlag(IntEnum):
    STRONGLY_TYPED = 0


class BuilderFlag(IntEnum):
    DEBUG = 2
    REFIT = 4
    TF32 = 6
    VERSION_COMPATIBLE = 12
    STRIP_PLAN = 18
    STRICT_NANS = 23


class ExecutionContextAllocationStrategy(IntEnum):
    STATIC = 0
    ON_PROFILE_CHANGE = 1
    USER_MANAGED = 2


class DynamicShapesKernelSpecializationStrategy(IntEnum):
    LAZY = 0
    EAGER = 1
    NONE = 2


class ComputeCapability(IntEnum):
    NONE = 0
    CURRENT = 1
    SM75 = 75
    SM80 = 80
    SM86 = 86
    SM89 = 89
    SM120 = 120
    SM121 = 121


class ErrorCode(IntEnum):
    SUCCESS = 0
    INTERNAL_ERROR = 1
    MODEL_DESERIALIZE_FAILED = 3
    INVALID_VALUE = 4
    INVALID_NODE = 6
    UNSUPPORTED_NODE_DATATYPE = 11


class Dims(tuple[int, ...]):
    """A shape; -1 for a size that is not known."""


class IHostMemory(bytes):
    """A buffer in host memory."""

    @property
    def nbytes(self) -> int:
        return len(self)


_NUMPY: dict[DataType, np.dtype[np.generic]] = {
    DataType.FLOAT: np.dtype(np.float32),
    DataType.HALF: np.dtype(np.float16),
    DataType.INT8: np.dtype(np.int8),
    DataType.INT32: np.dtype(np.int32),
    DataType.BOOL: np.dtype(np.bool_),
    DataType.UINT8: np.dtype(np.uint8),
    DataType.BF16: np.dtype(ml_dtypes.bfloat16),
    DataType.INT64: np.dtype(np.int64),
}
ELEMENTS: dict[int, DataType] = {
    TensorProto.FLOAT: DataType.FLOAT,
    TensorProto.FLOAT16: DataType.HALF,
    TensorProto.INT8: DataType.INT8,
    TensorProto.INT32: DataType.INT32,
    TensorProto.BOOL: DataType.BOOL,
    TensorProto.UINT8: DataType.UINT8,
    TensorProto.BFLOAT16: DataType.BF16,
    TensorProto.INT64: DataType.INT64,
}
