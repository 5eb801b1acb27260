"""Lines that commands print for people, and JSON for programs."""

from __future__ import annotations

import json
import sys


def note(text: str) -> None:
    """Prints a line for people on stderr."""
    print(f"latentloop: {text}", file=sys.stderr)


def note_interrupted(done: int, n: int, suffix: str = " and written") -> None:
    """Prints how many of n images were finished when the command was requested to stop."""
    note(f"interrupted, {f'{done} of {n} images were finished{suffix}' if done else 'no image was finished'}")


def plural(n: int, noun: str) -> str:
    """Returns the singular or plural of a noun for n things."""
    return noun if n == 1 else f"{noun}s"


def print_json(value: object) -> None:
    """Prints for programs: ASCII, indented, no NaN."""
    print(json.dumps(value, indent=1, allow_nan=False))
