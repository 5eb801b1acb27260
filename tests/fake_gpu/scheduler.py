"""Scheduling of the simulated GPU's work: the order that streams, events and the waiting host guarantee.

A *clock* is the progress of all streams, as a vector clock: ``{stream handle: number of finished pieces of work}``.
Every piece of work has a clock that must be reached before it starts. Two pieces are in a guaranteed order if the clock
of one includes the other.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

Clock = dict[int, int]
Run = Callable[[], object]


class FakeGpuError(AssertionError):
    """The tested program made an error that on a real GPU leads to wrong results or a crash."""


@dataclass(eq=False)
class Work:
    """One piece of work, the ``number``-th of its stream. It starts when the clock ``after`` is reached."""

    text: str
    handle: int
    number: int
    after: Clock
    run: Run | None = None

    def is_after(self, other: Work) -> bool:
        """Returns whether this work waits for the other."""
        return self.after.get(other.handle, 0) >= other.number


@dataclass(eq=False)
class _StreamQueue:
    """A stream's work, in order. ``clock`` is the clock for which its next piece of work waits."""

    clock: Clock = field(default_factory=dict)
    pending: deque[Work] = field(default_factory=deque)
    finished: int = 0


class Scheduler:
    """The work of all streams. It runs when the host waits, as late as possible, in a random permitted order."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.host_clock: Clock = {}  # the work for which the host has waited
        self._queues: dict[int, _StreamQueue] = {}

    def next(self, handle: int, text: str) -> Work:
        """Returns the stream's next piece of work. ``add`` enqueues it."""
        clock = dict(self._queue(handle).clock)
        _merge(clock, self.host_clock)
        return Work(text, handle, clock.get(handle, 0) + 1, clock)

    def add(self, work: Work, run: Run) -> None:
        queue = self._queue(work.handle)
        work.run = run
        queue.pending.append(work)
        queue.clock = {**work.after, work.handle: work.number}

    def record(self, handle: int) -> Clock:
        """Returns an event after the stream's work so far."""
        return dict(self._queue(handle).clock)

    def wait(self, handle: int, event: Clock) -> None:
        """Makes the stream's further work wait for an event."""
        _merge(self._queue(handle).clock, event)

    def host_has_waited_for(self, work: Work) -> bool:
        return self.host_clock.get(work.handle, 0) >= work.number

    def host_waits(self, event: Clock) -> None:
        """Runs the work before an event, in a random order that streams and events permit."""
        while ready := [
            queue
            for handle, queue in self._queues.items()
            if queue.finished < event.get(handle, 0) and self._is_reached(queue.pending[0].after)
        ]:
            queue = self.random.choice(ready)
            work = queue.pending.popleft()
            queue.finished = work.number
            run, work.run = work.run, None
            assert run is not None
            run()
        _merge(self.host_clock, event)

    def everything(self) -> Clock:
        """Returns an event after all work."""
        clock: Clock = {}
        for queue in self._queues.values():
            _merge(clock, queue.clock)
        return clock

    def _queue(self, handle: int) -> _StreamQueue:
        return self._queues.setdefault(handle, _StreamQueue())

    def _is_reached(self, clock: Clock) -> bool:
        return all(self._queue(handle).finished >= number for handle, number in clock.items())


def _merge(clock: Clock, other: Clock) -> None:
    for handle, number in other.items():
        if number > clock.get(handle, 0):
            clock[handle] = number
