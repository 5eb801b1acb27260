"""DLPack capsules: reading capsules of other libraries, and creating capsules for device memory."""

from __future__ import annotations

import ctypes
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np

from latentloop.kernels.element_types import ElementType

CUDA, CUDA_MANAGED = 2, 13  # device types
NEWEST = (1, 1)  # latest supported version of the protocol
_USED = {b"dltensor": b"used_dltensor", b"dltensor_versioned": b"used_dltensor_versioned"}

_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Device(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int32), ("id", ctypes.c_int32))


class _Type(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _Type),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),  # in values; null: row-major
        ("byte_offset", ctypes.c_uint64),
    )


class _Managed(ctypes.Structure):
    _fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _Deleter))


class _ManagedVersioned(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", _Deleter),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    )


@dataclass(frozen=True, eq=False)
class Imported:
    """The array of a capsule. The producer's memory is released with this object."""

    pointer: int
    device: tuple[int, int]  # device type, device number
    dtype: tuple[int, int, int]  # code, bits, lanes
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None  # in values; None: row-major


def read(capsule: object) -> Imported:
    """Consumes a capsule, versioned or not.

    Raises TypeError for other objects, for a capsule that was already consumed, and for an unsupported version.
    """
    api = ctypes.pythonapi
    is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_IsValid", api))
    rename = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_SetName", api))
    name = next((name for name in _USED if is_valid(capsule, name)), None)
    if name is None:
        raise TypeError(f"__dlpack__ returned {type(capsule).__name__} {capsule!r}, expected an unused DLPack capsule")
    address = _pointer_of(capsule, name)
    kind = _Managed if name == b"dltensor" else _ManagedVersioned
    managed = kind.from_address(address)
    if isinstance(managed, _ManagedVersioned) and managed.major > NEWEST[0]:
        raise TypeError(f"__dlpack__ returned version {managed.major}.{managed.minor}, expected at most 1")
    rename(capsule, _USED[name])
    tensor, deleter = managed.tensor, managed.deleter
    axes = range(tensor.ndim)
    imported = Imported(
        pointer=(tensor.data or 0) + tensor.byte_offset,
        device=(tensor.device.type, tensor.device.id),
        dtype=(tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes),
        shape=tuple(tensor.shape[axis] for axis in axes),
        strides=tuple(tensor.strides[axis] for axis in axes) if tensor.strides else None,
    )
    if entry := ctypes.cast(deleter, ctypes.c_void_p).value:
        weakref.finalize(imported, _Deleter(entry), address).atexit = False
    return imported


def export(owner: object, pointer: int, shape: tuple[int, ...], dtype: ElementType, device: int) -> Any:
    """Returns a capsule for row-major CUDA memory at ``pointer``. It keeps ``owner`` alive until it is released.

    NumPy creates the capsule, of an array that is never read, and this function then sets the device and the type.
    NumPy's deleter can run in any thread and while an exception is being handled; a Python callback could not.
    """
    size = int(np.prod(shape)) * dtype.size
    memory: Any = (ctypes.c_byte * size).from_address(pointer)
    memory.owner = owner
    capsule = np.ndarray(shape, dtype.numpy, buffer=memory).__dlpack__()
    tensor = _Managed.from_address(_pointer_of(capsule, b"dltensor")).tensor
    tensor.device = _Device(CUDA, device)
    tensor.dtype = _Type(dtype.dlpack, 8 * dtype.size, 1)
    return capsule


def _pointer_of(capsule: object, name: bytes) -> int:
    kind = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)
    pointer: int = kind(("PyCapsule_GetPointer", ctypes.pythonapi))(capsule, name)
    return pointer
