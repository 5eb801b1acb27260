"""Arrays in the memory of the fake GPU, with DLPack or the CUDA array interface, as other libraries have them."""

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

CPU, CUDA = 1, 2  # device types of DLPack
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
    extra_fields: dict[str, Any] = field(default_factory=dict)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        interface = {"shape": self.shape, "typestr": self.typestr, "data": (self.pointer, True), "version": 3}
        return {**interface, "stream": self.stream, **self.extra_fields}


class DlpackArray:
    """An array with DLPack: PyTorch's capsule of a CPU tensor, with its device changed to a GPU.

    ``accepts_options``: whether ``__dlpack__`` accepts options such as ``max_version``, as in DLPack 1.
    """

    def __init__(self, driver: FakeDriver, tensor: torch.Tensor, device: int = 0, accepts_options: bool = True) -> None:
        self.driver, self.tensor, self.device, self.accepts_options = driver, tensor, device, accepts_options
        self.produced_on = LEGACY
        self.memory: Callable[[], object] = lambda: tensor  # returns None when PyTorch has released the memory
        self.requested_streams: list[int | None] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return CUDA, self.device

    def __dlpack__(self, *, stream: int | None = None, **options: Any) -> Any:
        if options and not self.accepts_options:
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
    """Copies values to the GPU; returns an array with DLPack.

    ``values`` are of the form that ``nearest_grid.narrow`` returns: bfloat16 values are passed as their bits.
    """
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
    """Copies values to the GPU; returns an array with the CUDA array interface, which supports only NumPy's types.

    ``names_stream``: whether the interface names the stream that the values are copied on.
    """
    pointer = driver.put(values, stream)
    return InterfaceArray(values.shape, values.dtype.str, pointer, stream.handle if names_stream else None)


def adopt(array: Any, stream: int | None = None) -> NDArray[Any]:
    """Passes a result to PyTorch by DLPack, with the CPU as the capsule's device; returns it as a NumPy array."""
    capsule = array.__dlpack__(stream=stream)
    set_device(capsule, CPU, 0)
    adopted: torch.Tensor = torch.utils.dlpack.from_dlpack(capsule)
    return np.asarray(adopted if adopted.dtype != torch.bfloat16 else adopted.float())
