"""Lines that commands print for people, and JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from latentloop.errors import OutputError, printable

if TYPE_CHECKING:
    from latentloop.cli.interrupt import StopRequest


class StdoutError(OutputError):
    """Stdout cannot be written, for example because it is a file on a full disk."""


def print_line(text: str, *, flush: bool = False) -> None:
    """Prints a line on stdout. Raises StdoutError, and BrokenPipeError if nothing reads it any more."""
    with _stdout_errors():
        print(text, flush=flush)


def flush_stdout() -> None:
    """Writes what was printed. Raises the errors of ``print_line``."""
    with _stdout_errors():
        if sys.stdout is not None:  # None if it was closed before the program started
            sys.stdout.flush()


@contextmanager
def _stdout_errors() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StdoutError(f"stdout cannot be written: {error.strerror or error}") from error


def note(text: str) -> None:
    """Prints a line for people on stderr."""
    print(f"latentloop: {printable(text)}", file=sys.stderr)


def finished(done: int, n: int, suffix: str = " and written") -> str:
    """Returns how many of n images were finished when the command was requested to stop."""
    return f"{done} of {n} images were finished{suffix}" if done else "no image was finished"


def exit_status(stop: StopRequest, outcome: str) -> int:
    """Returns a command's exit status. If the command was requested to stop, prints the outcome."""
    if stop.is_set():
        note(f"interrupted, {outcome}")
    return stop.exit_status


def print_result(summary: Mapping[str, object], line: str, *, as_json: bool) -> None:
    """Prints a command's result: the summary for programs, or the line for people, if it is not empty."""
    if as_json:
        print_json(summary)
    elif line:
        print_line(printable(line))


def print_json(value: object) -> None:
    """Prints for programs: ASCII, indented, no NaN."""
    print_line(json.dumps(value, indent=1, allow_nan=False))
