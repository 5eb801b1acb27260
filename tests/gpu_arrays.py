"""Arrays on a GPU as other libraries would hand them in, in a fake driver's memory."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.utils.dlpack
from fake_gpu.driver import FakeDriver
from numpy.typing import NDArray

from latentloop.kernels.driver.stream import LEGACY, Stream, as_stream

CUDA = 2
# Of DLManagedTensor, and of DLManagedTensorVersioned: bytes before `device`, and before `dl_tensor`.
TENSORS = {b"dltensor": 0, b"dltensor_versioned": 32}
TORCH_TYPES = {
    "f32": torch.float32,
    "f16": torch.float16,
    "bf16": torch.bfloat16,
    "u8": torch.uint8,
    "i64": torch.int64,
}


@dataclass
class InterfaceArray:
    """Speaks the CUDA array interface, version 3."""

    shape: tuple[int, ...]
    typestr: str
    pointer: int
    stream: int | None = None
    others: dict[str, Any] = field(default_factory=dict)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        said = {"shape": self.shape, "typestr": self.typestr, "data": (self.pointer, True), "version": 3}
        return {**said, "stream": self.stream, **self.others}


class DlpackArray:
    """Speaks DLPack by PyTorch's own capsules, whose device is changed; ``versions`` or only before there were any."""

    def __init__(self, driver: FakeDriver, tensor: torch.Tensor, device: int = 0, versions: bool = True) -> None:
        self.driver, self.tensor, self.device, self.versions = driver, tensor, device, versions
        self.produced_on = LEGACY
        self.memory: Callable[[], object] = lambda: tensor  # None once PyTorch lets it go
        self.asked: list[int | None] = []  # streams

    def __dlpack_device__(self) -> tuple[int, int]:
        return CUDA, self.device

    def __dlpack__(self, *, stream: int | None = None, **options: Any) -> Any:
        if options and not self.versions:
            raise TypeError(f"__dlpack__() got an unexpected keyword argument {next(iter(options))!r}")
        self.asked.append(stream)
        if as_stream(stream) != self.produced_on:
            with self.driver.use(self.device):
                self.driver.wait(as_stream(stream), self.driver.record(self.produced_on))
        capsule = self.tensor.__dlpack__(**options)
        set_device(capsule, CUDA, self.device)
        return capsule


def set_device(capsule: Any, kind: int, device: int) -> None:
    """Writes where a capsule says that its tensor is."""
    name_of = ctypes.pythonapi.PyCapsule_GetName
    name_of.restype, name_of.argtypes = ctypes.c_char_p, (ctypes.py_object,)
    pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    name = name_of(capsule)
    device_at = (ctypes.c_int32 * 2).from_address(pointer_of(capsule, name) + TENSORS[name] + 8)
    device_at[0], device_at[1] = kind, device


def put(
    driver: FakeDriver, values: NDArray[Any], kind: str, stream: Stream = LEGACY, device: int = 0, offset: int = 0
) -> DlpackArray:
    """Values as ``nearest_grid.narrow`` gives them (bfloat16 as its bits), as an array that speaks DLPack."""
    pointer = driver.put(values, stream, device, offset)
    memory = (ctypes.c_byte * max(values.nbytes, 1)).from_address(pointer)  # which PyTorch's storage keeps
    dtype = TORCH_TYPES[kind]
    flat = torch.frombuffer(memory, dtype=dtype, count=values.size) if values.size else torch.empty(0, dtype=dtype)
    array = DlpackArray(driver, flat.reshape(values.shape), device)
    array.produced_on, array.memory = stream, weakref.ref(memory)
    return array


def put_interface(
    driver: FakeDriver, values: NDArray[Any], stream: Stream = LEGACY, *, names_stream: bool = True
) -> InterfaceArray:
    """Values of a type that NumPy has as an array that speaks the CUDA array interface."""
    pointer = driver.put(values, stream)
    return InterfaceArray(values.shape, values.dtype.str, pointer, stream.handle if names_stream else None)


def adopt(array: Any, stream: int | None = None) -> NDArray[Any]:
    """What PyTorch makes of a result's capsule, told that it is on the host."""
    capsule = array.__dlpack__(stream=stream)
    set_device(capsule, 1, 0)
    adopted: torch.Tensor = torch.utils.dlpack.from_dlpack(capsule)
    return np.asarray(adopted if adopted.dtype != torch.bfloat16 else adopted.float())
