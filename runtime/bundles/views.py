"""State buffers for a batch: their initial values, and views of them: index, offset and shape of a binding at row i
and column j. All loops use them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from latentloop.bundles.manifest import BATCH, INDEX, Binding, Level, StateBuffer
from latentloop.errors import InputError

LARGEST_LOOP = 2**31  # values in the state buffers of one loop; 8 GiB in float32
Index = tuple[int | slice, ...]
Extent = TypeVar("Extent", int, int | str)


def view_index(binding: Binding, buffer: StateBuffer, i: int, j: int) -> Index:
    """Returns the NumPy index, over the leading axes, of the view at row i and column j; the view is contiguous."""
    if binding.view == "all":
        return ()
    if binding.view == "row":
        return (i,)
    if binding.view == "entries":
        return (slice(0, i + 1),)
    first = binding.first + (buffer.padding if buffer.ring else 0)
    rows = int(buffer.shape[0])
    if binding.view == "span":
        return (i - binding.back) % rows, slice(first, first + binding.count)
    columns = slice(first + j, first + j + binding.count)
    return (i % rows, columns) if buffer.ring else (columns,)


def offset_and_shape(index: Index, shape: Sequence[int]) -> tuple[int, tuple[int, ...]]:
    """Returns the offset, in values, of the view ``index`` in an array of that shape, and the shape of the view."""
    starts = (part.start if isinstance(part, slice) else part for part in index)
    offset = sum(start * math.prod(shape[axis + 1 :]) for axis, start in enumerate(starts))
    return offset, view_shape(index, shape)


def view_shape(index: Index, shape: Sequence[Extent]) -> tuple[Extent, ...]:
    """Returns the shape of the view ``index`` in an array of that shape, which may contain the dynamic size "batch"."""
    return (*(part.stop - part.start for part in index if isinstance(part, slice)), *shape[len(index) :])


def buffer_shape(buffer: StateBuffer, batch: int) -> tuple[int, ...]:
    """Returns the shape of a state buffer for a batch size."""
    return shape_for_batch(buffer.shape, batch)


def shape_for_batch(shape: Sequence[int | str], batch: int) -> tuple[int, ...]:
    """Returns the shape with the dynamic size "batch" replaced by a number."""
    return tuple(batch if size == BATCH else int(size) for size in shape)


def initial_values(buffer: StateBuffer, batch: int) -> NDArray[Any]:
    """Returns a new array of a state buffer, with its initial values."""
    shape = buffer_shape(buffer, batch)
    if buffer.fill == INDEX:
        entries = np.arange(shape[0], dtype=buffer.dtype).reshape(-1, *[1] * (len(shape) - 1))
        return np.broadcast_to(entries, shape).copy()
    return np.full(shape, buffer.fill, buffer.dtype)


def check_size(level: Level, buffers: Sequence[StateBuffer], batch: int) -> None:
    """Raises InputError if the state buffers of a level have more than ``LARGEST_LOOP`` values for this batch size."""
    values = sum(math.prod(buffer_shape(buffer, batch)) for buffer in buffers)
    if values > LARGEST_LOOP:
        raise InputError(f"a batch of {batch} needs {values / 2**28:.0f} GiB for {level.name}: use a smaller one")
