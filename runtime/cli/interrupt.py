"""Ctrl-C, and the two signals by which others end a program: SIGTERM of containers, service managers and batch queues,
SIGHUP of a terminal that is closed.

The program takes these two as it takes Ctrl-C, and ends soon: while a native call runs, Python's handlers wait, so a
thread watches, and ends the process where nothing else has. Nothing here is installed unless the program runs.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGTERM, signal.SIGHUP)
PATIENCE = 1.2  # seconds to be left alone in; process managers kill after some more
REPEATED = 0.5  # seconds within which a signal that comes twice was meant once, as `timeout` sends it
_watch: Watch | None = None


class EndedError(KeyboardInterrupt):
    """One of ``ENDING`` arrived."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Request:
    """Whether the program was asked to stop, and how."""

    def __init__(self) -> None:
        self.number: int | None = None

    def is_set(self) -> bool:
        """Whether it was."""
        return self.number is not None

    @property
    def status(self) -> int:
        """The exit status that tells how, as a shell reports it."""
        return 128 + (self.number or 0)

    def interrupt(self) -> KeyboardInterrupt:
        """What it would have raised elsewhere."""
        return KeyboardInterrupt() if self.number in (None, signal.SIGINT) else EndedError(self.number)

    def wait_for_results(self) -> None:
        """From now on there is something to lose: the program ends once it is written, not before."""
        if _watch is not None:
            _watch.patient = True


def exit_status(stop: KeyboardInterrupt) -> int:
    """130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP: as a shell reports them."""
    return 128 + (stop.number if isinstance(stop, EndedError) else signal.SIGINT)


@contextmanager
def endable() -> Iterator[None]:
    """SIGTERM and SIGHUP raise EndedError in the block, and end the process where it does not end soon after.

    A signal that the process ignores or has a handler for stays as it is; so do both outside the main thread.
    """
    global _watch
    on_main_thread = threading.current_thread() is threading.main_thread()
    taken = [number for number in ENDING if on_main_thread and signal.getsignal(number) == signal.SIG_DFL]
    if not taken:
        yield
        return
    watch = _watch = Watch(taken)
    for number in taken:
        signal.signal(number, watch.stop)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
        watch.close()
        _watch = None


@contextmanager
def interruptible() -> Iterator[Request]:
    """Makes the first Ctrl-C, SIGTERM or SIGHUP set the request it yields instead of raising; a second one raises.

    Where the program has a handler of its own, or this is not the main thread, the request is never set.
    """
    asked, first = Request(), 0.0
    ours = [signal.default_int_handler, *([] if _watch is None else [_watch.stop])]
    previous = {
        number: signal.getsignal(number)
        for number in (signal.SIGINT, *ENDING)
        if threading.current_thread() is threading.main_thread() and signal.getsignal(number) in ours
    }

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if asked.number is None:
            asked.number, first = number, time.monotonic()
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        elif time.monotonic() - first > REPEATED:
            raise EndedError(number)

    for number in previous:
        signal.signal(number, ask)
    try:
        yield asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if asked.is_set():
            asked.wait_for_results()  # what follows writes what is finished


@contextmanager
def finishing(asked: Request) -> Iterator[None]:
    """Lets the block, which writes what is finished, run to its end: a request that comes meanwhile is noted in
    ``asked``. Where that is set already, one more raises.
    """
    if asked.is_set():
        yield
        return
    with interruptible() as late:
        late.wait_for_results()
        yield
    asked.number = late.number


class Watch:
    """A thread that sees signals at once, whatever the main thread does, and ends the process in time."""

    def __init__(self, signals: Sequence[int]) -> None:
        self.patient = False  # there are results to wait for
        self._signals = signals
        self._stopped = -REPEATED
        self._arrived, self._sent = os.pipe()
        os.set_blocking(self._sent, False)
        self._other = signal.set_wakeup_fd(self._sent, warn_on_full_buffer=False)
        if self._other >= 0:  # an event loop's, which it would miss
            signal.set_wakeup_fd(self._other)
        self._thread = threading.Thread(target=self._run, name="latentloop-signals", daemon=True)
        self._thread.start()

    def stop(self, number: int, frame: FrameType | None) -> None:
        """The handler: raises EndedError, but not twice for one request."""
        if time.monotonic() - self._stopped > REPEATED:
            self._stopped = time.monotonic()
            raise EndedError(number)

    def close(self) -> None:
        """Ends the thread."""
        signal.set_wakeup_fd(self._other)
        os.write(self._sent, b"\0")
        self._thread.join()
        os.close(self._sent)
        os.close(self._arrived)

    def _run(self) -> None:
        number, first, deadline, again = 0, 0.0, 0.0, False
        while True:
            left = max(0.0, deadline - time.monotonic()) if number else None
            if not select.select([self._arrived], [], [], left)[0]:
                if again or not self.patient:
                    _end(number)
                deadline = time.monotonic() + PATIENCE
                continue
            received = os.read(self._arrived, 1)[0]
            if not received:
                return
            if received not in self._signals:
                continue
            now = time.monotonic()
            if not number:
                number, first, deadline = received, now, now + PATIENCE
            elif now - first > REPEATED:
                again, deadline = True, min(deadline, now + REPEATED)


def _end(number: int) -> None:
    """Ends the process from another thread than the main one, without its temporaries."""
    try:
        os.write(2, b"latentloop: interrupted\n")
        files = sys.modules.get("latentloop.io.temporaries")  # an import could wait for the main thread
        if files is not None:
            files.discard_temporaries()
    finally:
        os._exit(128 + number)
