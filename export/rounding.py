"""Rounding of weights to float16, so that they can be stored in half the bytes without another rounding."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.errors import InputError
from latentloop.export.checkpoints.checkpoint import Checkpoint
from latentloop.export.checkpoints.lazy_arrays import arrays_of, weights_of


def round_weights(checkpoint: Checkpoint, weights: str) -> Checkpoint:
    """Returns the checkpoint with its weights rounded to the nearest values of ``weights``, float32 or float16.

    The arrays are float32 in both cases; lazy weights are rounded each time that they are read. Raises InputError that
    names a weight beyond float16's range.
    """
    if weights == "float32":
        return checkpoint
    assert weights == "float16", weights
    rounded = {
        name: array.then(partial(_rounded, f"{checkpoint.kind}'s {name}"))
        for name, array in arrays_of(checkpoint.weights).items()
    }
    return replace(checkpoint, weights=weights_of(rounded, check=True))


def exact_float16(values: NDArray[np.float32]) -> NDArray[np.float16] | None:
    """Returns the same values as float16, or None if float16 cannot represent one of them."""
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float16)
    is_exact = np.array_equal(narrow.astype(np.float32).view(np.uint32), values.view(np.uint32))  # bits: -0 stays -0
    return narrow if is_exact else None


def _rounded(name: str, value: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        narrow = value.astype(np.float16)
    if np.isinf(narrow).any():
        largest = np.abs(value).max()
        raise InputError(f"the {name} holds {largest:g}, beyond float16's range (65504): store float32 weights")
    return narrow.astype(np.float32)
