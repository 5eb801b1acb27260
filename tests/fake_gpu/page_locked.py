"""Page-locked host memory, with checks that the host does not use it during a copy."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fake_gpu.accesses import Access
from fake_gpu.allocations import Allocation, Allocations
from fake_gpu.scheduler import FakeGpuError, Run, Scheduler
from latentloop.kernels.driver.host_memory import PageLockedBuffer


def allocate_page_locked(allocations: Allocations, size: int, device: int) -> NDArray[np.uint8]:
    """Returns an array filled with poison; its memory is freed when the array and its views are deleted."""
    allocation = allocations.add(Allocation(size, device, host=True))
    memory = PageLockedBuffer(allocation.pointer, size)
    weakref.finalize(memory, setattr, allocation, "freed", True).atexit = False
    return np.asarray(memory)


def watch_copy(
    text: str, access: Access, accesses: Sequence[Access], allocations: Allocations, scheduler: Scheduler, device: int
) -> Run:
    """Starts to watch a copy's page-locked memory, when the copy is enqueued. The copy calls the result before it runs.

    Poisons the target of a copy, so a host that reads it too early gets wrong values. The result raises FakeGpuError if
    the source has changed or the memory was freed. If other unfinished work accesses the same bytes, poison and
    comparison are omitted, because that work can be the cause of a change.
    """
    allocation, first = allocations.locate(text, access, device)
    unfinished = (
        work
        for work in allocation.history.conflicts(first, access.size, access.writes)
        if not scheduler.host_has_waited_for(work)
    )
    others = (other for other in accesses if other.writes != access.writes)
    is_exclusive = not any(unfinished) and not any(access.overlaps(other) for other in others)
    if access.writes and is_exclusive:
        allocation.poison(first, access.size)
    source = allocation.data[first : first + access.size].tobytes() if is_exclusive and not access.writes else None

    def check() -> None:
        if allocation.freed:
            raise FakeGpuError(f"{text}: {access.name} was freed before the copy finished")
        if source is not None and allocation.data[first : first + access.size].tobytes() != source:
            raise FakeGpuError(f"{text}: {access.name} changed before the copy finished")

    return check
