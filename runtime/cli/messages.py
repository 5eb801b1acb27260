"""Lines that commands print for people, and JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from latentloop.errors import printable

if TYPE_CHECKING:
    from latentloop.cli.interrupt import StopRequest


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


def plural(n: int, noun: str) -> str:
    """Returns the singular or plural of a noun for n things."""
    return noun if n == 1 else f"{noun}s"


def print_result(summary: Mapping[str, object], line: str, *, as_json: bool) -> None:
    """Prints a command's result: the summary for programs, or the line for people, if it is not empty."""
    if as_json:
        print_json(summary)
    elif line:
        print(printable(line))


def print_json(value: object) -> None:
    """Prints for programs: ASCII, indented, no NaN."""
    print(json.dumps(value, indent=1, allow_nan=False))
