"""Where in a memory a binding looks at row i and column j, for hosts of every kind."""

from __future__ import annotations

import math
from collections.abc import Sequence

from latentloop.bundles.manifest import BATCH, Binding, Level, StateBuffer
from latentloop.errors import InputError

LARGEST_LOOP = 2**31  # values that one loop may hold, 8 GiB of float32
Index = tuple[int | slice, ...]


def view_index(binding: Binding, memory: StateBuffer, i: int, j: int) -> Index:
    """The index of the view's leading axes, as NumPy takes it; the view is always contiguous."""
    if binding.view == "all":
        return ()
    if binding.view == "row":
        return (i,)
    if binding.view == "entries":
        return (slice(0, i + 1),)
    first = binding.first + (memory.padding if memory.ring else 0)
    rows = int(memory.shape[0])
    if binding.view == "span":
        return (i - binding.back) % rows, slice(first, first + binding.count)
    columns = slice(first + j, first + j + binding.count)
    return (i % rows, columns) if memory.ring else (columns,)


def view_span(index: Index, shape: Sequence[int]) -> tuple[int, tuple[int, ...]]:
    """Where the contiguous view ``index`` of an array [*shape] begins, counted in values, and the view's own shape."""
    first, kept = 0, []
    for axis, part in enumerate(index):
        start = part.start if isinstance(part, slice) else part
        first += start * math.prod(shape[axis + 1 :])
        if isinstance(part, slice):
            kept.append(part.stop - part.start)
    return first, (*kept, *shape[len(index) :])


def buffer_shape(memory: StateBuffer, batch: int) -> tuple[int, ...]:
    """The memory's shape for a batch size."""
    return batched(memory.shape, batch)


def batched(shape: Sequence[int | str], batch: int) -> tuple[int, ...]:
    """A described shape for a batch size."""
    return tuple(batch if size == BATCH else int(size) for size in shape)


def check_size(level: Level, memories: Sequence[StateBuffer], batch: int) -> None:
    """Raises InputError for a batch whose memories nobody means to allocate."""
    values = sum(math.prod(buffer_shape(memory, batch)) for memory in memories)
    if values > LARGEST_LOOP:
        raise InputError(f"a batch of {batch} needs {values / 2**28:.0f} GiB for {level.name}: use a smaller one")
