"""Allocations of the simulated GPU's memory and of page-locked host memory, with checks of every access to them."""

from __future__ import annotations

import threading
from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from fake_gpu.accesses import Access, AccessHistory
from fake_gpu.scheduler import FakeGpuError, Work

POISON = 0xFFFE  # in every 2 bytes: NaN as float32, float16 and bfloat16, and negative as an integer
ALIGNMENT = GUARD = 256  # bytes; every allocation has a guard on each side


@dataclass(eq=False)
class Allocation:
    """An allocation, filled with poison. ``handle`` is its stream's; None: the driver's ``free`` must not free it."""

    size: int
    device: int
    handle: int | None = None
    host: bool = False
    freed: bool = False

    def __post_init__(self) -> None:
        raw = np.empty(self.size + 2 * GUARD + ALIGNMENT, np.uint8)
        start = -int(raw.ctypes.data) % ALIGNMENT
        self.data_with_guards = raw[start : start + self.size + 2 * GUARD]
        self.data_with_guards[:] = _poison(0, self.data_with_guards.size)
        self.pointer = int(self.data_with_guards.ctypes.data) + GUARD
        self.history = AccessHistory(self.size)

    @property
    def data(self) -> NDArray[np.uint8]:
        return self.data_with_guards[GUARD : GUARD + self.size]

    def poison(self, first: int = 0, size: int | None = None) -> None:
        part = self.data[first:] if size is None else self.data[first : first + size]
        part[:] = _poison(first, part.size)

    def check_guards(self) -> None:
        for start in (0, GUARD + self.size):
            if (self.data_with_guards[start : start + GUARD] != _poison(start, GUARD)).any():
                raise FakeGpuError("a write outside an allocation")


class Allocations:
    """All allocations, including freed ones: their memory is kept, so an address is never reused."""

    def __init__(self) -> None:
        self._allocations: list[Allocation] = []  # by address
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Allocation]:
        return iter(self._allocations)

    def add(self, allocation: Allocation) -> Allocation:
        with self._lock:
            insort(self._allocations, allocation, key=attrgetter("pointer"))
        return allocation

    def find(self, pointer: int, size: int) -> Allocation | None:
        """Returns the allocation, freed or not, that contains the bytes."""
        with self._lock:  # another thread may insert
            index = bisect_right(self._allocations, pointer, key=attrgetter("pointer"))
            allocation = self._allocations[index - 1] if index else None
        if allocation is None or pointer + size > allocation.pointer + allocation.size:
            return None
        return allocation

    def locate(self, text: str, access: Access, device: int) -> tuple[Allocation, int]:
        """Returns the allocation of an access, and the offset in it. Raises FakeGpuError for an invalid access."""
        pointer = access.pointer or 0
        allocation = self.find(pointer, access.size)
        if allocation is None:
            raise FakeGpuError(
                f"{text}: {access.name} of {access.size} bytes at {pointer:#x} is not within one allocation"
            )
        if allocation.freed:
            raise FakeGpuError(f"{text}: {access.name} was freed")
        if allocation.host != access.host:
            actual, expected = ("host", "GPU") if allocation.host else ("GPU", "host")
            raise FakeGpuError(f"{text}: {access.name} is {actual} memory, expected {expected} memory")
        if allocation.device != device and not access.host:
            raise FakeGpuError(f"{text}: {access.name} is on device {allocation.device}, current is {device}")
        return allocation, pointer - allocation.pointer

    def access(self, work: Work, accesses: Iterable[Access], device: int) -> None:
        """Records the accesses of ``work``. Raises FakeGpuError for an invalid access and for a race."""
        located = [(access, *self.locate(work.text, access, device)) for access in accesses]
        for access, allocation, first in located:
            for other in allocation.history.conflicts(first, access.size, access.writes):
                if not work.is_after(other):
                    raise FakeGpuError(f"{work.text}: {access.name}: a race with {other.text}, nothing orders the two")
        for access, allocation, first in located:
            allocation.history.add(first, access.size, access.writes, work)


def _poison(first: int, size: int) -> NDArray[np.uint8]:
    return np.full(size // 2 + 2, POISON, "<u2").view(np.uint8)[first % 2 : first % 2 + size]
