"""Checks of arguments that several functions of the Python interface have in common. All raise InputError."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from latentloop.errors import InputError, short_repr


def is_integer(value: object) -> TypeGuard[int | np.integer[Any]]:
    """Returns whether a value is an integer of Python or NumPy. Truth values and NumPy's durations are none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool | np.timedelta64)


def path_of(name: str, value: object, what: str) -> Path:
    """Returns a path. ``what`` says what is there."""
    try:
        return Path(value)  # type: ignore[arg-type]
    except TypeError:
        raise InputError(f"{name} is {short_repr(value)}, expected a str or a Path: {what}") from None


def check_iterable(name: str, value: object, of: str) -> None:
    """Raises InputError unless a value can be iterated. ``of`` says what over."""
    if not isinstance(value, Iterable):
        raise InputError(f"{name} is {short_repr(value)}, expected {of}")
