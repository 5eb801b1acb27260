"""Accesses of work to ranges of bytes, and the history of accesses, for the detection of races."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from fake_gpu.scheduler import FakeGpuError, Work


@dataclass(frozen=True)
class Access:
    """A range of bytes that a piece of work reads, or with ``writes`` reads and writes."""

    name: str
    pointer: int | None
    size: int
    writes: bool = False
    host: bool = False  # page-locked memory of the host; otherwise memory of the GPU

    def overlaps(self, other: Access) -> bool:
        first, second = self.pointer or 0, other.pointer or 0
        return first < second + other.size and second < first + self.size


@dataclass(eq=False)
class _Segment:
    """Bytes with the same history: the last write, and each stream's last read since that write."""

    written: Work | None = None
    read: dict[int, Work] = field(default_factory=dict)

    def conflicts(self, writes: bool) -> Iterator[Work]:
        if self.written is not None:
            yield self.written
        if writes:
            yield from self.read.values()


class AccessHistory:
    """The last accesses to each of ``size`` bytes, as a sorted list of segments."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._starts = [0]
        self._segments = [_Segment()]

    def conflicts(self, first: int, size: int, writes: bool) -> Iterator[Work]:
        """Yields the work that must finish before a read of the bytes, or with ``writes`` a write. Work can repeat."""
        last = bisect_left(self._starts, first + size) if size else 0
        for index in range(bisect_right(self._starts, first) - 1, last):
            yield from self._segments[index].conflicts(writes)

    def add(self, first: int, size: int, writes: bool, work: Work) -> None:
        """Adds an access of ``work``."""
        if not size:
            return
        start, stop = self._split(first), self._split(first + size)
        if writes:
            self._starts[start:stop] = [first]
            self._segments[start:stop] = [_Segment(work)]
        else:
            for segment in self._segments[start:stop]:
                segment.read[work.handle] = work

    def _split(self, offset: int) -> int:
        """Returns the index of the segment that starts at ``offset``; splits a segment if none does."""
        index = bisect_left(self._starts, offset)
        if offset < self._size and (index == len(self._starts) or self._starts[index] != offset):
            before = self._segments[index - 1]
            self._starts.insert(index, offset)
            self._segments.insert(index, _Segment(before.written, dict(before.read)))
        return index


def merge_accesses(accesses: Iterable[Access]) -> list[Access]:
    """Returns accesses to the same bytes with as few ranges as possible. Reads and writes stay separate."""
    kinds: dict[tuple[bool, bool], list[Access]] = {}
    for access in accesses:
        kinds.setdefault((access.writes, access.host), []).append(access)
    merged: list[Access] = []
    for kind in kinds.values():
        ordered = sorted(kind, key=lambda access: access.pointer or 0)
        current = ordered[0]
        for access in ordered[1:]:
            start, end = current.pointer or 0, (current.pointer or 0) + current.size
            if (access.pointer or 0) > end:
                merged.append(current)
                current = access
            else:
                end = max(end, (access.pointer or 0) + access.size)
                current = Access(current.name, start, end - start, current.writes, current.host)
        merged.append(current)
    return merged


def check_no_overlap(text: str, accesses: Iterable[Access]) -> None:
    """Raises FakeGpuError if an output overlaps an input or another output."""
    furthest: dict[bool, Access] = {}  # the access with the highest end so far, of reads and of writes
    for access in sorted(accesses, key=lambda access: access.pointer or 0):
        for writes, other in furthest.items():
            if (writes or access.writes) and access.overlaps(other):
                raise FakeGpuError(f"{text}: {access.name} and {other.name} overlap, and at least one is an output")
        last = furthest.get(access.writes)
        if last is None or (access.pointer or 0) + access.size > (last.pointer or 0) + last.size:
            furthest[access.writes] = access
