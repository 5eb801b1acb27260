"""GPU arrays with the interfaces of other libraries, in the memory of the fake GPU."""

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
# Offsets of `dl_tensor` in DLManagedTensor and DLManagedTensorVersioned, in bytes.
TENSOR_OFFSETS = {b"dltensor": 0, b"dltensor_versioned": 32}
TORCH_TYPES = {
    "f32": torch.float32,
    "f16": torch.float16,
    "bf16": torch.bfloat16,
    "u8": torch.uint8,
    "i64": torch.int64,
}


@dataclass
class InterfaceArray:
    """An array with the CUDA array interface, version 3."""

    shape: tuple[int, ...]
    typestr: str
    pointer: int
    stream: int | None = None
    others: dict[str, Any] = field(default_factory=dict)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        interface = {"shape": self.shape, "typestr": self.typestr, "data": (self.pointer, True), "version": 3}
        return {**interface, "stream": self.stream, **self.others}


class DlpackArray:
    """An array with DLPack, through PyTorch's capsules with a changed device. ``versions``: accepts max_version."""

    def __init__(self, driver: FakeDriver, tensor: torch.Tensor, device: int = 0, versions: bool = True) -> None:
        self.driver, self.tensor, self.device, self.versions = driver, tensor, device, versions
        self.produced_on = LEGACY
        self.memory: Callable[[], object] = lambda: tensor  # returns None when PyTorch has released the memory
        self.requested_streams: list[int | None] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return CUDA, self.device

    def __dlpack__(self, *, stream: int | None = None, **options: Any) -> Any:
        if options and not self.versions:
            raise TypeError(f"__dlpack__() got an unexpected keyword argument {next(iter(options))!r}")
        self.requested_streams.append(stream)
        if as_stream(stream) != self.produced_on:
            with self.driver.use(self.device):
                self.driver.wait(as_stream(stream), self.driver.record(self.produced_on))
        capsule = self.tensor.__dlpack__(**options)
        set_device(capsule, CUDA, self.device)
        return capsule


def set_device(capsule: Any, kind: int, device: int) -> None:
    """Changes the device of a capsule's tensor."""
    name_of = ctypes.pythonapi.PyCapsule_GetName
    name_of.restype, name_of.argtypes = ctypes.c_char_p, (ctypes.py_object,)
    pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    name = name_of(capsule)
    dl_device = (ctypes.c_int32 * 2).from_address(pointer_of(capsule, name) + TENSOR_OFFSETS[name] + 8)
    dl_device[0], dl_device[1] = kind, device


def put(
    driver: FakeDriver, values: NDArray[Any], kind: str, stream: Stream = LEGACY, device: int = 0, offset: int = 0
) -> DlpackArray:
    """Returns an array with DLPack. ``values`` as ``nearest_grid.narrow`` returns them: bfloat16 as its bits."""
    pointer = driver.put(values, stream, device, offset)
    memory = (ctypes.c_byte * max(values.nbytes, 1)).from_address(pointer)  # kept alive by PyTorch's storage
    dtype = TORCH_TYPES[kind]
    flat = torch.frombuffer(memory, dtype=dtype, count=values.size) if values.size else torch.empty(0, dtype=dtype)
    array = DlpackArray(driver, flat.reshape(values.shape), device)
    array.produced_on, array.memory = stream, weakref.ref(memory)
    return array


def put_interface(
    driver: FakeDriver, values: NDArray[Any], stream: Stream = LEGACY, *, names_stream: bool = True
) -> InterfaceArray:
    """Returns an array with the CUDA array interface, which has only NumPy's types."""
    pointer = driver.put(values, stream)
    return InterfaceArray(values.shape, values.dtype.str, pointer, stream.handle if names_stream else None)


def adopt(array: Any, stream: int | None = None) -> NDArray[Any]:
    """Returns the array that PyTorch adopts from a result's capsule, after the capsule's device is set to the CPU."""
    capsule = array.__dlpack__(stream=stream)
    set_device(capsule, 1, 0)
    adopted: torch.Tensor = torch.utils.dlpack.from_dlpack(capsule)
    return np.asarray(adopted if adopted.dtype != torch.bfloat16 else adopted.float())
