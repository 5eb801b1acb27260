"""What is certain to be done before what: the work of streams, marks in it, and the host that waits for them.

A *clock* says how much of every stream's work is done: ``{handle: pieces}``. A piece of work knows the clock that must
have been reached before it starts, so that one look says whether two pieces are in an order that was asked for.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

Clock = dict[int, int]
Run = Callable[[], object]


class FakeGpuError(AssertionError):
    """The host did what a GPU would not forgive."""


@dataclass(eq=False)
class Work:
    """One piece of work: the ``number``-th of its stream. ``after`` is the clock that it waits for."""

    text: str
    handle: int
    number: int
    after: Clock
    run: Run | None = None

    def is_after(self, other: Work) -> bool:
        return self.after.get(other.handle, 0) >= other.number


@dataclass(eq=False)
class _Line:
    """A stream's work, in order. ``clock`` is what its next piece waits for."""

    clock: Clock = field(default_factory=dict)
    pending: deque[Work] = field(default_factory=deque)
    done: int = 0


class Order:
    """All streams' work. It is done when the host waits, no more than it waits for, as late as possible."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.over: Clock = {}  # what the host has waited for
        self._lines: dict[int, _Line] = {}

    def next(self, handle: int, text: str) -> Work:
        """What would be the stream's next piece; ``add`` makes it so."""
        clock = dict(self._line(handle).clock)
        _join(clock, self.over)
        return Work(text, handle, clock.get(handle, 0) + 1, clock)

    def add(self, work: Work, run: Run) -> None:
        line = self._line(work.handle)
        work.run = run
        line.pending.append(work)
        line.clock = {**work.after, work.handle: work.number}

    def mark(self, handle: int) -> Clock:
        return dict(self._line(handle).clock)

    def wait(self, handle: int, clock: Clock) -> None:
        _join(self._line(handle).clock, clock)

    def is_over(self, work: Work) -> bool:
        """Whether the host has waited for it."""
        return self.over.get(work.handle, 0) >= work.number

    def host_waits(self, clock: Clock) -> None:
        """Does what the clock asks for, in a random order that streams and marks permit."""
        while waiting := [
            line
            for handle, line in self._lines.items()
            if line.done < clock.get(handle, 0) and self._reached(line.pending[0].after)
        ]:
            line = self.random.choice(waiting)
            work = line.pending.popleft()
            line.done = work.number
            run, work.run = work.run, None
            assert run is not None
            run()
        _join(self.over, clock)

    def everything(self) -> Clock:
        """The clock of all work that there is."""
        clock: Clock = {}
        for line in self._lines.values():
            _join(clock, line.clock)
        return clock

    def _line(self, handle: int) -> _Line:
        return self._lines.setdefault(handle, _Line())

    def _reached(self, clock: Clock) -> bool:
        return all(self._line(handle).done >= number for handle, number in clock.items())


def _join(clock: Clock, other: Clock) -> None:
    for handle, number in other.items():
        if number > clock.get(handle, 0):
            clock[handle] = number
