"""A clock around every graph call of the runtime, from outside: the only place of the bench that knows its inside."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from latentloop.backends.cpu.session import OrtSession


@dataclass(frozen=True)
class TimedCall:
    """One run of a bound graph: its file's name, and seconds (looking at the binding included)."""

    file: str
    seconds: float


class CallClock:
    """What was clocked since the last look."""

    def __init__(self) -> None:
        self._calls: list[TimedCall] = []

    def add(self, call: TimedCall) -> None:
        """Notes one run."""
        self._calls.append(call)

    def take(self) -> list[TimedCall]:
        """The runs since the last ``take``, in order."""
        taken, self._calls = self._calls, []
        return taken


@contextmanager
def timed_calls() -> Iterator[CallClock]:
    """Calls that loaded graphs prepare within the block are clocked, for as long as they live."""
    clock = CallClock()
    plain: Callable[..., Any] = OrtSession.call

    def clocked_call(graph: OrtSession, *arguments: Any, **options: Any) -> Any:
        call = plain(graph, *arguments, **options)
        run, file = call.run, graph.path.name

        def clocked_run() -> None:
            begin = time.perf_counter()
            run()
            clock.add(TimedCall(file, time.perf_counter() - begin))

        call.run = clocked_run
        return call

    setattr(OrtSession, "call", clocked_call)  # noqa: B010 (mypy forbids to assign to a method)
    try:
        yield clock
    finally:
        setattr(OrtSession, "call", plain)  # noqa: B010
