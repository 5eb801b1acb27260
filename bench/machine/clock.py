"""Timing of a call on the processor."""

from __future__ import annotations

import time
from collections.abc import Callable


def elapsed(call: Callable[[], object]) -> float:
    """Returns the seconds of one call."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def fastest(call: Callable[[], object], seconds: float) -> float:
    """Returns the seconds of the fastest run: slower ones were disturbed by other processes.

    Repeats the call for ``seconds`` after a run that does not count.
    """
    call()
    until, best = time.perf_counter() + seconds, elapsed(call)
    while time.perf_counter() <= until:
        best = min(best, elapsed(call))
    return best
