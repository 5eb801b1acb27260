"""Page-locked memory of the host: what copies find there, and what the host must not do to it meanwhile."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fake_gpu.memory import Block, Blocks, Range
from fake_gpu.order import FakeGpuError, Order, Run
from latentloop.kernels.driver.host_memory import PageLocked


def page_locked(blocks: Blocks, size: int, device: int) -> NDArray[np.uint8]:
    """An array of poison, given back when nothing views it any more."""
    block = blocks.add(Block(size, device, host=True))
    memory = PageLocked(block.pointer, size)
    weakref.finalize(memory, setattr, block, "freed", True).atexit = False
    return np.asarray(memory)


def watch(text: str, part: Range, touched: Sequence[Range], blocks: Blocks, order: Order, device: int) -> Run:
    """To be called when a copy of ``part`` is enqueued, and what it returns before the copy is done.

    Spoils what the copy will change, and finds out whether the host has changed what the copy reads. Where other work
    that the host has not waited for uses the same bytes, it may be that work's doing, and passes.
    """
    block, first = blocks.locate(text, part, device)
    others = (other for other in touched if other.changes != part.changes)
    pending = (work for work in block.accesses.others(first, part.size, part.changes) if not order.is_over(work))
    is_alone = not any(pending) and not any(part.overlaps(other) for other in others)
    if part.changes and is_alone:
        block.poison(first, part.size)
    given = block.inside[first : first + part.size].tobytes() if is_alone and not part.changes else None

    def check() -> None:
        if block.freed:
            raise FakeGpuError(f"{text}: {part.name} was given back before the copy was done")
        if given is not None and block.inside[first : first + part.size].tobytes() != given:
            raise FakeGpuError(f"{text}: {part.name} changed before the copy was done")

    return check
