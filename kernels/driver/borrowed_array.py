"""Device arrays of other libraries, imported without a copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from latentloop.kernels.driver import dlpack
from latentloop.kernels.driver.driver import Driver
from latentloop.kernels.driver.stream import Stream, as_stream
from latentloop.kernels.element_types import FLOATS, ElementType


@dataclass(frozen=True, eq=False)
class BorrowedArray:
    """A row-major array in the device memory of another library. ``owner`` keeps that memory alive."""

    pointer: int
    shape: tuple[int, ...]
    dtype: ElementType
    device: int
    owner: object


def named_stream(array: Any) -> Stream | None:
    """Returns the stream that the array's producer specifies, or None. DLPack cannot specify one."""
    interface = None if hasattr(array, "__dlpack__") else getattr(array, "__cuda_array_interface__", None)
    stream = interface.get("stream") if interface else None
    return None if stream is None else as_stream(stream)


def borrow(
    array: Any, name: str, driver: Driver, stream: Stream, types: Sequence[ElementType] = FLOATS
) -> BorrowedArray:
    """Imports an array by ``__dlpack__``, or else ``__cuda_array_interface__``; ``stream`` waits for its producer.

    The memory must not change until the work on ``stream`` has completed. Raises TypeError for an object with neither
    protocol and for data types other than ``types``; ValueError for memory that is not on a CUDA device, masks, and
    arrays that are not row-major. ``name`` is the argument's name, for these messages.
    """
    if hasattr(array, "__dlpack__") and hasattr(array, "__dlpack_device__"):
        return _from_dlpack(array, name, stream, types)
    interface = getattr(array, "__cuda_array_interface__", None)
    if interface is None:
        raise TypeError(
            f"{name} is {type(array).__module__}.{type(array).__qualname__}, expected a GPU array that has "
            "__dlpack__ or __cuda_array_interface__, such as one of PyTorch, CuPy, Numba, JAX or pycuda"
        )
    return _from_interface(array, interface, name, driver, stream, types)


def _from_dlpack(array: Any, name: str, stream: Stream, types: Sequence[ElementType]) -> BorrowedArray:
    kind, _ = map(int, array.__dlpack_device__())
    _check_device(kind, name)
    try:
        capsule = array.__dlpack__(stream=stream.handle, max_version=dlpack.NEWEST)
    except TypeError:  # a producer that predates DLPack versions
        capsule = array.__dlpack__(stream=stream.handle)
    imported = dlpack.read(capsule)
    _check_device(imported.device[0], name)
    dtype = next((t for t in types if imported.dtype == (t.dlpack, 8 * t.size, 1)), None)
    if dtype is None:
        code, bits, lanes = imported.dtype
        raise _unknown_type(name, types, f"DLPack's (code {code}, {bits} bits, {lanes} lanes)")
    _check_contiguous(name, imported.shape, imported.strides, "values")
    return _check_alignment(name, BorrowedArray(imported.pointer, imported.shape, dtype, imported.device[1], imported))


def _from_interface(
    array: Any, interface: Mapping[str, Any], name: str, driver: Driver, stream: Stream, types: Sequence[ElementType]
) -> BorrowedArray:
    if interface.get("mask") is not None:
        raise ValueError(f"{name} is masked, expected an array without a mask")
    typestr = interface["typestr"]
    dtype = next((t for t in types if t.typestr == typestr), None)
    if dtype is None:
        raise _unknown_type(name, types, f"{typestr!r} (bfloat16 needs DLPack)")
    shape = tuple(map(int, interface["shape"]))
    strides = interface.get("strides")
    pointer, _ = interface["data"]  # read-only memory is allowed
    if strides is not None:
        _check_contiguous(name, shape, tuple(map(int, strides)), "bytes", dtype.size)
    pointer = 0 if 0 in shape else int(pointer or 0)  # the pointer of an empty array is undefined
    if not pointer and 0 not in shape:
        raise ValueError(f"{name} has shape {list(shape)} and a null pointer, expected memory")
    device = driver.device_of(pointer) if pointer else 0
    producer_stream = interface.get("stream")
    if producer_stream == 0:
        raise ValueError(
            f"{name} names stream 0, which is ambiguous: expected 1 (legacy default stream) or 2 (per-thread default)"
        )
    if producer_stream is not None and (producer := as_stream(producer_stream)) != stream:
        with driver.use(device):
            driver.wait(stream, driver.record(producer))
    return _check_alignment(name, BorrowedArray(pointer, shape, dtype, device, array))


def _check_device(kind: int, name: str) -> None:
    if kind not in (dlpack.CUDA, dlpack.CUDA_MANAGED):
        location = "host memory" if kind == 1 else f"a device of DLPack type {kind}"
        raise ValueError(f"{name} is in {location}, expected CUDA device memory: move it to the GPU first")


def _check_contiguous(
    name: str, shape: tuple[int, ...], strides: tuple[int, ...] | None, unit: str, size: int = 1
) -> None:
    if strides is None or 0 in shape:
        return
    expected = size
    for extent, stride in zip(reversed(shape), reversed(strides), strict=True):
        if extent != 1 and stride != expected:
            raise ValueError(
                f"{name} of shape {list(shape)} has strides {list(strides)} in {unit}, expected row-major order: "
                "call .contiguous() or ascontiguousarray first"
            )
        expected *= extent


def _check_alignment(name: str, array: BorrowedArray) -> BorrowedArray:
    if array.pointer % array.dtype.size:
        raise ValueError(
            f"{name} is at {array.pointer:#x}, expected a multiple of its values' {array.dtype.size} bytes"
        )
    return array


def _unknown_type(name: str, types: Sequence[ElementType], actual: str) -> TypeError:
    return TypeError(f"{name} is of type {actual}, expected {', '.join(t.name for t in types)}")
