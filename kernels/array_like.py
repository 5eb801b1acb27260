"""Classification of array-like arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeGuard


def is_sequence(value: object) -> TypeGuard[list[object]]:
    """Returns whether NumPy converts the value entry by entry, as it does a list.

    That is any object with a length and items, except arrays, buffers, strings and mappings.
    """
    if isinstance(value, list | tuple):
        return True
    if isinstance(value, str | Mapping) or any(hasattr(value, name) for name in ("__array__", "__dlpack__")):
        return False
    if not (hasattr(value, "__len__") and hasattr(value, "__getitem__")):
        return False
    try:
        memoryview(value)  # type: ignore[arg-type]
    except TypeError:
        return True
    return False  # bytes, or a ctypes array, which NumPy converts as a buffer with a dtype
