"""The fastest of the measured settings, and the one that needs the least memory of those that are about as fast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

NEARLY = 0.95  # a figure's share of another one that differs by what two runs differ by

Entry = dict[str, Any]  # of the result's "runs"


def rate(entry: Entry) -> float:
    """Returns the images a second, the median."""
    return float(entry["images_per_second"]["median"])


def memory(entry: Entry) -> float:
    """Returns the resident memory in MiB, the median."""
    return float(entry["memory"]["median"])


def fastest(entries: Sequence[Entry]) -> Entry:
    """Returns the entry with the most images a second."""
    return max(entries, key=rate)


def leanest(entries: Sequence[Entry]) -> Entry | None:
    """Returns the entry with the least memory of those with 95 % of the most images a second.

    None if it does not save over 5 % of the memory of the fastest.
    """
    best = fastest(entries)
    least = min((entry for entry in entries if rate(entry) >= NEARLY * rate(best)), key=memory)
    return least if memory(least) < NEARLY * memory(best) else None


def find(entries: Sequence[Entry], **values: Any) -> list[Entry]:
    """Returns the entries that have these values."""
    return [entry for entry in entries if all(entry[name] == value for name, value in values.items())]
