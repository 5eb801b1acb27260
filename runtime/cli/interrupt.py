"""Signals that stop the program: Ctrl-C (SIGINT), SIGTERM from containers, service managers and batch queues, and
SIGHUP from a terminal that is closed.

SIGTERM and SIGHUP have the effect of Ctrl-C. Python's signal handlers do not run during a native call, so a watcher
thread ends the process if the main thread does not end it soon. Importing this module installs nothing: only the
program does, while it runs.
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

TERMINATION_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
GRACE_PERIOD = 1.2  # seconds from the signal to the end of the process; process managers send SIGKILL some time later
REPEAT_WINDOW = 0.5  # seconds; `timeout` sends each signal twice, so a repetition within this time is ignored
_watcher: SignalWatcher | None = None


class TerminatedError(KeyboardInterrupt):
    """One of ``TERMINATION_SIGNALS`` arrived."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class StopRequest:
    """The signal that requested the program to stop, if one has arrived."""

    def __init__(self) -> None:
        self.number: int | None = None

    def is_set(self) -> bool:
        """Returns whether a signal has arrived."""
        return self.number is not None

    @property
    def exit_status(self) -> int:
        """The exit status for the signal, by the convention of shells; 0 if none has arrived."""
        return 128 + self.number if self.number is not None else 0

    def exception(self) -> KeyboardInterrupt:
        """Returns the exception that the signal's normal handler raises."""
        return _exception(signal.SIGINT if self.number is None else self.number)

    def wait_for_results(self) -> None:
        """Declares that there are results to write: from now on, the watcher does not end the process at the first
        signal.
        """
        if _watcher is not None:
            _watcher.has_results = True


def exit_status(stop: KeyboardInterrupt) -> int:
    """Returns 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP, by the convention of shells."""
    return 128 + (stop.number if isinstance(stop, TerminatedError) else signal.SIGINT)


@contextmanager
def raise_on_termination() -> Iterator[None]:
    """Makes SIGTERM and SIGHUP raise TerminatedError in the block, and end the process if it does not end soon after.

    If a signal raises, also Ctrl-C, and the block ends with another error, the signal's exception is raised: the
    interrupted code can turn it into any error, for example an extension module that is being imported.

    Leaves a signal alone that the process ignores or already handles, and all outside the main thread.
    """
    global _watcher
    on_main_thread = threading.current_thread() is threading.main_thread()
    defaults = dict.fromkeys(TERMINATION_SIGNALS, signal.SIG_DFL) | {signal.SIGINT: signal.default_int_handler}
    handled = {n: default for n, default in defaults.items() if on_main_thread and signal.getsignal(n) == default}
    if not handled:
        yield
        return
    watcher = _watcher = SignalWatcher([number for number in handled if number in TERMINATION_SIGNALS])
    for number in handled:
        signal.signal(number, watcher.handle)
    try:
        yield
    except Exception as error:
        if watcher.raised is not None:
            raise watcher.raised from error
        raise
    finally:
        for number, default in handled.items():
            signal.signal(number, default)
        watcher.close()
        _watcher = None


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Makes the first Ctrl-C, SIGTERM or SIGHUP set the yielded request instead of raising; a second one raises.

    The request is never set outside the main thread, nor by a signal for which the program has its own handler.
    """
    stop, first = StopRequest(), 0.0
    default_handlers = [signal.default_int_handler, *([] if _watcher is None else [_watcher.handle])]
    previous = {
        number: signal.getsignal(number)
        for number in (signal.SIGINT, *TERMINATION_SIGNALS)
        if threading.current_thread() is threading.main_thread() and signal.getsignal(number) in default_handlers
    }

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if stop.number is None:
            stop.number, first = number, time.monotonic()
        elif number == signal.SIGINT or time.monotonic() - first > REPEAT_WINDOW:
            raise _raised(number)

    for number in previous:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if stop.is_set():
            stop.wait_for_results()  # the caller writes the finished results next


@contextmanager
def defer_stop(stop: StopRequest) -> Iterator[None]:
    """Lets the block, which writes finished results, run to its end: a first signal only sets ``stop``, a second one
    raises. If ``stop`` is set already, the next signal raises.
    """
    if stop.is_set():
        yield
        return
    with stop_request() as late:
        late.wait_for_results()
        yield
    stop.number = late.number


class SignalWatcher:
    """A thread that is notified of signals even during native calls, and ends the process if the main thread does not.

    Without results to write the process ends ``GRACE_PERIOD`` after the first signal; with results, only after a
    second signal.
    """

    def __init__(self, signals: Sequence[int]) -> None:
        self.has_results = False
        self.raised: KeyboardInterrupt | None = None  # by the last signal that was not only noted
        self._signals = signals
        self._raised_at = -REPEAT_WINDOW
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._write_end, False)
        self._previous_fd = signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        if self._previous_fd >= 0:  # an event loop needs it
            signal.set_wakeup_fd(self._previous_fd)
        self._thread = threading.Thread(target=self._run, name="latentloop-signals", daemon=True)
        self._thread.start()

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The signal handler: raises KeyboardInterrupt, or TerminatedError once for signals in quick succession."""
        if number == signal.SIGINT:
            raise _raised(number)
        if time.monotonic() - self._raised_at > REPEAT_WINDOW:
            self._raised_at = time.monotonic()
            raise _raised(number)

    def close(self) -> None:
        """Ends the thread."""
        signal.set_wakeup_fd(self._previous_fd)
        os.write(self._write_end, b"\0")
        self._thread.join()
        os.close(self._write_end)
        os.close(self._read_end)

    def _run(self) -> None:
        number, first, deadline, repeated = 0, 0.0, 0.0, False
        while True:
            timeout = max(0.0, deadline - time.monotonic()) if number else None
            if not select.select([self._read_end], [], [], timeout)[0]:
                if repeated or not self.has_results:
                    _end_process(number)
                deadline = time.monotonic() + GRACE_PERIOD
                continue
            received = os.read(self._read_end, 1)[0]
            if not received:
                return
            if received not in self._signals:
                continue
            now = time.monotonic()
            if not number:
                number, first, deadline = received, now, now + GRACE_PERIOD
            elif now - first > REPEAT_WINDOW:
                repeated, deadline = True, min(deadline, now + REPEAT_WINDOW)


def _exception(number: int) -> KeyboardInterrupt:
    return KeyboardInterrupt() if number == signal.SIGINT else TerminatedError(number)


def _raised(number: int) -> KeyboardInterrupt:
    """Returns the exception for a signal, which the watcher remembers."""
    error = _exception(number)
    if _watcher is not None:
        _watcher.raised = error
    return error


def _end_process(number: int) -> None:
    """Removes temporary files and ends the process, called from the watcher thread."""
    try:
        os.write(2, b"latentloop: interrupted\n")
        temporaries = sys.modules.get("latentloop.io.temporaries")  # importing it could block on the main thread
        if temporaries is not None:
            temporaries.discard_temporaries()
    finally:
        os._exit(128 + number)
