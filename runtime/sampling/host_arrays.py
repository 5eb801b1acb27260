"""Lists, arrays and tensors in host memory, converted to NumPy arrays and Python values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.errors import InputError


def plain(name: str, value: object, expected: str) -> Any:
    """A sequence or an array as a list of Python's own values, an array without axes as one; others as they are."""
    if _is_array(value):
        array = as_array(name, value)
        if array.dtype.kind in "mMV":  # whose values look like integers, or like nothing of Python's
            raise InputError(f"{name} has dtype {array.dtype}, expected {expected}")
        return array.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [as_array(name, entry).tolist() if _is_array(entry) else entry for entry in value]
    _check_kept(name, value)
    return value


def as_array(name: str, value: object) -> NDArray[Any]:
    """Lists, arrays, and tensors of PyTorch and other libraries in host memory, as NumPy's.

    Raises InputError, with what to do about it, for those of which NumPy would drop something, or which it cannot read.
    """
    try:
        return np.asarray(_whole(name, value))
    except (MemoryError, InputError):
        raise
    except Exception as error:  # each library has its own
        raise InputError(f"{name} cannot be read as an array: {error}") from error


def _is_array(value: object) -> bool:
    return hasattr(value, "__array__") or hasattr(value, "__dlpack__")


def _whole(name: str, value: Any) -> Any:
    """The value with arrays of other libraries as NumPy's, looked for in sequences too; others as they are.

    Raises InputError for masks, gradients, bfloat16 and the memory of a GPU.
    """
    if hasattr(value, "__getitem__") and not isinstance(value, np.ndarray):
        from latentloop.kernels.sequences import is_sequence  # late: most calls give numbers or arrays

        if is_sequence(value):
            return [_whole(name, entry) for entry in value]
    _check_kept(name, value)
    if not _is_array(value):
        return value
    # What an object gives may be masked where the object is not; asarray would drop the mask.
    array = np.asanyarray(value) if hasattr(value, "__array__") else np.from_dlpack(value)
    if np.any(getattr(array, "mask", False)):
        raise InputError(f"{name}: some values are masked, and no mask is used here: fill them, as .filled(…) does")
    return array


def _check_kept(name: str, value: Any) -> None:
    """Raises InputError for gradients, bfloat16 and the memory of a GPU, which NumPy would not keep or not read."""
    if getattr(value, "requires_grad", False):
        raise InputError(
            f"{name}: the tensor requires a gradient, and none is computed here: detach it, as .detach() does"
        )
    on_gpu = hasattr(value, "__cuda_array_interface__") and not hasattr(value, "__array__")
    if on_gpu or not getattr(value, "is_cpu", True):
        place = getattr(value, "device", "a GPU")
        raise InputError(f"{name}: the array is on {place}, expected host memory: move it to the CPU, as .cpu() does")
    if str(getattr(value, "dtype", "")).endswith("bfloat16"):
        raise InputError(f"{name}: NumPy has no bfloat16: convert it, as .float() or .long() does")
