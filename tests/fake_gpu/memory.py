"""Memory that work touches, the GPU's and the host's page-locked one, and who touched which bytes of it last."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from fake_gpu.order import FakeGpuError, Work

POISON = 0xFFFE  # in every 2 bytes: NaN as float32, float16 and bfloat16, and no index
ALIGNMENT = GUARD = 256  # bytes; guards lie on each side of every allocation


@dataclass(frozen=True)
class Range:
    """Bytes that a piece of work touches; what it ``changes`` it may read too."""

    name: str
    pointer: int | None
    size: int
    changes: bool = False
    host: bool = False  # page-locked memory, else the GPU's

    def overlaps(self, other: Range) -> bool:
        first, second = self.pointer or 0, other.pointer or 0
        return first < second + other.size and second < first + self.size


@dataclass(eq=False)
class _Segment:
    """Bytes with one history: who changed them last, and by stream who has read them since."""

    changed: Work | None = None
    read: dict[int, Work] = field(default_factory=dict)

    def others(self, changes: bool) -> Iterator[Work]:
        """Work that must be over before the bytes are touched."""
        if self.changed is not None:
            yield self.changed
        if changes:
            yield from self.read.values()


class Accesses:
    """Who touched which of ``size`` bytes last: segments in order."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._starts = [0]
        self._segments = [_Segment()]

    def others(self, first: int, size: int, changes: bool) -> Iterator[Work]:
        """Work that must be over before those bytes are read, or changed. Some may come twice."""
        last = bisect_left(self._starts, first + size) if size else 0
        for place in range(bisect_right(self._starts, first) - 1, last):
            yield from self._segments[place].others(changes)

    def touch(self, first: int, size: int, changes: bool, work: Work) -> None:
        if not size:
            return
        start, stop = self._cut(first), self._cut(first + size)
        if changes:
            self._starts[start:stop] = [first]
            self._segments[start:stop] = [_Segment(work)]
        else:
            for segment in self._segments[start:stop]:
                segment.read[work.handle] = work

    def _cut(self, at: int) -> int:
        """The place of the segment that starts there, made where there is none."""
        place = bisect_left(self._starts, at)
        if at < self._size and (place == len(self._starts) or self._starts[place] != at):
            before = self._segments[place - 1]
            self._starts.insert(place, at)
            self._segments.insert(place, _Segment(before.changed, dict(before.read)))
        return place


@dataclass(eq=False)
class Block:
    """An allocation, filled with poison. ``handle`` is its stream's; None: not to be freed by the driver."""

    size: int
    device: int
    handle: int | None = None
    host: bool = False
    freed: bool = False

    def __post_init__(self) -> None:
        raw = np.empty(self.size + 2 * GUARD + ALIGNMENT, np.uint8)
        start = -int(raw.ctypes.data) % ALIGNMENT
        self.data = raw[start : start + self.size + 2 * GUARD]
        self.data[:] = _poison(0, self.data.size)
        self.pointer = int(self.data.ctypes.data) + GUARD
        self.accesses = Accesses(self.size)

    @property
    def inside(self) -> NDArray[np.uint8]:
        return self.data[GUARD : GUARD + self.size]

    def poison(self, first: int = 0, size: int | None = None) -> None:
        part = self.inside[first:] if size is None else self.inside[first : first + size]
        part[:] = _poison(first, part.size)

    def check_guards(self) -> None:
        for start in (0, GUARD + self.size):
            if (self.data[start : start + GUARD] != _poison(start, GUARD)).any():
                raise FakeGpuError("written beside an allocation")


class Blocks:
    """All memory that there ever was: an address is never used again."""

    def __init__(self) -> None:
        self._blocks: list[Block] = []  # by address

    def __iter__(self) -> Iterator[Block]:
        return iter(self._blocks)

    def add(self, block: Block) -> Block:
        insort(self._blocks, block, key=attrgetter("pointer"))
        return block

    def find(self, pointer: int, size: int) -> Block | None:
        """The block in which those bytes lie, freed or not."""
        place = bisect_right(self._blocks, pointer, key=attrgetter("pointer"))
        block = self._blocks[place - 1] if place else None
        return block if block is not None and pointer + size <= block.pointer + block.size else None

    def locate(self, text: str, part: Range, device: int) -> tuple[Block, int]:
        """The block of those bytes, and where in it they begin. Raises FakeGpuError for bytes that cannot be used."""
        pointer = part.pointer or 0
        block = self.find(pointer, part.size)
        if block is None:
            raise FakeGpuError(
                f"{text}: {part.name} of {part.size} bytes at {pointer:#x} does not lie in one allocation"
            )
        if block.freed:
            raise FakeGpuError(f"{text}: {part.name} was freed")
        if block.host != part.host:
            found, expected = ("the host's", "a GPU's") if block.host else ("a GPU's", "the host's")
            raise FakeGpuError(f"{text}: {part.name} is {found} memory, expected {expected}")
        if block.device != device and not part.host:
            raise FakeGpuError(f"{text}: {part.name} is on device {block.device}, current is {device}")
        return block, pointer - block.pointer

    def touch(self, work: Work, touched: Iterable[Range], device: int) -> None:
        """Raises FakeGpuError for bytes that cannot be used, or not in any certain order with other work."""
        found = [(part, *self.locate(work.text, part, device)) for part in touched]
        for part, block, first in found:
            for other in block.accesses.others(first, part.size, part.changes):
                if not work.is_after(other):
                    raise FakeGpuError(
                        f"{work.text}: {part.name} may be used before or after {other.text} is done with it"
                    )
        for part, block, first in found:
            block.accesses.touch(first, part.size, part.changes, work)


def united(parts: Iterable[Range]) -> list[Range]:
    """The same bytes in as few ranges as possible, those that are changed apart from those that are read."""
    kinds: dict[tuple[bool, bool], list[Range]] = {}
    for part in parts:
        kinds.setdefault((part.changes, part.host), []).append(part)
    found: list[Range] = []
    for kind in kinds.values():
        ordered = sorted(kind, key=lambda part: part.pointer or 0)
        grown = ordered[0]
        for part in ordered[1:]:
            start, end = grown.pointer or 0, (grown.pointer or 0) + grown.size
            if (part.pointer or 0) > end:
                found.append(grown)
                grown = part
            else:
                end = max(end, (part.pointer or 0) + part.size)
                grown = Range(grown.name, start, end - start, grown.changes, grown.host)
        found.append(grown)
    return found


def check_apart(text: str, touched: Iterable[Range]) -> None:
    """Raises FakeGpuError where an output overlaps an input or another output."""
    furthest: dict[bool, Range] = {}  # of what is read, and of what is changed, by where it ends
    for part in sorted(touched, key=lambda part: part.pointer or 0):
        for changes, other in furthest.items():
            if (changes or part.changes) and part.overlaps(other):
                raise FakeGpuError(f"{text}: {part.name} and {other.name} overlap, and at least one is an output")
        last = furthest.get(part.changes)
        if last is None or (part.pointer or 0) + part.size > (last.pointer or 0) + last.size:
            furthest[part.changes] = part


def _poison(first: int, size: int) -> NDArray[np.uint8]:
    return np.full(size // 2 + 2, POISON, "<u2").view(np.uint8)[first % 2 : first % 2 + size]
