"""Which objects NumPy looks into as it does into a list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeGuard


def is_sequence(value: object) -> TypeGuard[list[object]]:
    """Whether NumPy takes it entry by entry: any object may be a sequence, unless it is an array or a buffer."""
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
    return False  # bytes, or an array of ctypes, whose values have a type of their own
