"""The time of the fastest of many runs: slower ones were disturbed by other processes."""

from __future__ import annotations

import time
from collections.abc import Callable


def fastest(call: Callable[[], object], seconds: float) -> float:
    """Returns the seconds of the fastest run. Repeats the call for ``seconds`` after a run that does not count."""
    call()
    best, until = float("inf"), time.perf_counter() + seconds
    while True:
        begin = time.perf_counter()
        call()
        end = time.perf_counter()
        best = min(best, end - begin)
        if end > until:
            return best
