"""Ctrl-C during long work whose finished part is worth keeping."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Makes the first Ctrl-C set the event it yields instead of raising; a second one raises KeyboardInterrupt.

    Where the program has a handler of its own, or this is not the main thread, the event is never set.
    """
    asked = threading.Event()
    previous = signal.getsignal(signal.SIGINT)
    if previous != signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(*_: object) -> None:
        asked.set()
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, previous)
