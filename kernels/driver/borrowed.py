"""Arrays that other libraries made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from latentloop.kernels.driver import dlpack
from latentloop.kernels.driver.datatype import FLOATS, DataType
from latentloop.kernels.driver.driver import Driver
from latentloop.kernels.driver.stream import Stream, as_stream


@dataclass(frozen=True, eq=False)
class Borrowed:
    """A row-major array in a device's memory, whose owner is kept alive."""

    pointer: int
    shape: tuple[int, ...]
    dtype: DataType
    device: int
    owner: object


def named_stream(array: Any) -> Stream | None:
    """The stream that the array's producer names, which only the CUDA array interface can; None where it names none."""
    interface = None if hasattr(array, "__dlpack__") else getattr(array, "__cuda_array_interface__", None)
    stream = interface.get("stream") if interface else None
    return None if stream is None else as_stream(stream)


def borrow(array: Any, name: str, driver: Driver, stream: Stream, types: Sequence[DataType] = FLOATS) -> Borrowed:
    """The array behind ``__dlpack__``, or else ``__cuda_array_interface__``, ready for work on ``stream``.

    The memory must stay unchanged until that work is done. Raises TypeError for an object that speaks neither and for a
    type that is none of ``types``; ValueError for memory that is not a CUDA device's, masks, and values
    not in row-major order. ``name`` is the argument's, for these.
    """
    if hasattr(array, "__dlpack__") and hasattr(array, "__dlpack_device__"):
        return _from_dlpack(array, name, stream, types)
    interface = getattr(array, "__cuda_array_interface__", None)
    if interface is None:
        raise TypeError(
            f"{name} is {type(array).__module__}.{type(array).__qualname__}, expected a GPU array that has "
            "__dlpack__ or __cuda_array_interface__, as those of PyTorch, CuPy, Numba, JAX and pycuda"
        )
    return _from_interface(array, interface, name, driver, stream, types)


def _from_dlpack(array: Any, name: str, stream: Stream, types: Sequence[DataType]) -> Borrowed:
    kind, _ = map(int, array.__dlpack_device__())
    _check_device(kind, name)
    try:
        capsule = array.__dlpack__(stream=stream.handle, max_version=dlpack.NEWEST)
    except TypeError:  # a producer from before versions
        capsule = array.__dlpack__(stream=stream.handle)
    found = dlpack.read(capsule)
    _check_device(found.device[0], name)
    dtype = next((t for t in types if found.dtype == (t.code, 8 * t.size, 1)), None)
    if dtype is None:
        code, bits, lanes = found.dtype
        raise _unknown_type(name, types, f"DLPack's (code {code}, {bits} bits, {lanes} lanes)")
    _check_contiguous(name, found.shape, found.strides, "values")
    return _checked(name, Borrowed(found.pointer, found.shape, dtype, found.device[1], found))


def _from_interface(
    array: Any, interface: Mapping[str, Any], name: str, driver: Driver, stream: Stream, types: Sequence[DataType]
) -> Borrowed:
    if interface.get("mask") is not None:
        raise ValueError(f"{name} is masked, expected an array whose values all count")
    typestr = interface["typestr"]
    dtype = next((t for t in types if t.typestr == typestr), None)
    if dtype is None:
        raise _unknown_type(name, types, f"{typestr!r} (of bfloat16 only DLPack can speak)")
    shape = tuple(map(int, interface["shape"]))
    strides = interface.get("strides")
    pointer, _ = interface["data"]  # read-only memory will do
    if strides is not None:
        _check_contiguous(name, shape, tuple(map(int, strides)), "bytes", dtype.size)
    pointer = 0 if 0 in shape else int(pointer or 0)  # without values it may be anything
    if not pointer and 0 not in shape:
        raise ValueError(f"{name} has shape {list(shape)} and a null pointer, expected memory")
    device = driver.device_of(pointer) if pointer else 0
    produced_on = interface.get("stream")
    if produced_on == 0:
        raise ValueError(
            f"{name} names stream 0, which is ambiguous: 1 is the legacy default stream, 2 the thread's own"
        )
    if produced_on is not None and (producer := as_stream(produced_on)) != stream:
        with driver.use(device):
            driver.wait(stream, driver.record(producer))
    return _checked(name, Borrowed(pointer, shape, dtype, device, array))


def _check_device(kind: int, name: str) -> None:
    if kind not in (dlpack.CUDA, dlpack.CUDA_MANAGED):
        where = "the host's memory" if kind == 1 else f"a device of DLPack type {kind}"
        raise ValueError(f"{name} is in {where}, expected CUDA's: move it to the GPU first")


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


def _checked(name: str, array: Borrowed) -> Borrowed:
    if array.pointer % array.dtype.size:
        raise ValueError(
            f"{name} is at {array.pointer:#x}, expected a multiple of its values' {array.dtype.size} bytes"
        )
    return array


def _unknown_type(name: str, types: Sequence[DataType], found: str) -> TypeError:
    return TypeError(f"{name} is of type {found}, expected {', '.join(t.name for t in types)}")
