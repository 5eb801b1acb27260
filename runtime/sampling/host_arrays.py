"""Conversion of lists, arrays and tensors in host memory to NumPy arrays and Python values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.errors import InputError


def to_python(name: str, value: object, expected: str) -> Any:
    """Returns a sequence or an array as a list of Python values, a 0-d array as one value, other values unchanged.

    ``name`` and ``expected`` are for error messages. Raises InputError like ``as_array``.
    """
    if _is_array(value):
        array = as_array(name, value)
        if array.dtype.kind in "mMV":  # times and structured types, for which tolist() may return integers or tuples
            raise InputError(f"{name} has dtype {array.dtype}, expected {expected}")
        return array.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [as_array(name, entry).tolist() if _is_array(entry) else entry for entry in value]
    _check_convertible(name, value)
    return value


def as_array(name: str, value: object) -> NDArray[Any]:
    """Returns a list, an array, or a tensor of PyTorch or another library in host memory as a NumPy array.

    Raises InputError with a remedy if NumPy cannot read the value, or would drop its mask or gradient.
    """
    try:
        return np.asarray(_with_numpy_arrays(name, value))
    except (MemoryError, InputError):
        raise
    except Exception as error:  # each library raises its own errors
        raise InputError(f"{name} cannot be read as an array: {error}") from error


def _is_array(value: object) -> bool:
    return hasattr(value, "__array__") or hasattr(value, "__dlpack__")


def _with_numpy_arrays(name: str, value: Any) -> Any:
    """Returns the value with arrays of other libraries, also inside sequences, converted to NumPy arrays.

    Raises InputError for masks, gradients, bfloat16 and GPU memory.
    """
    if hasattr(value, "__getitem__") and not isinstance(value, np.ndarray):
        from latentloop.kernels.array_like import is_sequence  # late, because most calls pass numbers or arrays

        if is_sequence(value):
            return [_with_numpy_arrays(name, entry) for entry in value]
    _check_convertible(name, value)
    if not _is_array(value):
        return value
    # np.asarray would drop the mask of a masked array, which __array__ may return.
    array = np.asanyarray(value) if hasattr(value, "__array__") else np.from_dlpack(value)
    if np.any(getattr(array, "mask", False)):
        raise InputError(f"{name}: some values are masked, and masks are not supported: fill them with .filled(…)")
    return array


def _check_convertible(name: str, value: Any) -> None:
    """Raises InputError for gradients, bfloat16 and GPU memory, which NumPy would drop or cannot read."""
    if getattr(value, "requires_grad", False):
        raise InputError(
            f"{name}: the tensor requires a gradient, which is not computed: detach it, for example with .detach()"
        )
    on_gpu = hasattr(value, "__cuda_array_interface__") and not hasattr(value, "__array__")
    if on_gpu or not getattr(value, "is_cpu", True):
        device = getattr(value, "device", "a GPU")
        raise InputError(f"{name}: the array is on {device}, expected host memory: move it to the CPU with .cpu()")
    if str(getattr(value, "dtype", "")).endswith("bfloat16"):
        raise InputError(f"{name}: NumPy has no bfloat16: convert it, for example with .float() or .long()")
