"""Lists in error messages, cut after a number of items."""

from __future__ import annotations

from collections.abc import Iterable


def listed(items: Iterable[object], separator: str, most: int = 20) -> str:
    """Joins the first ``most`` items; a longer list ends with the number of the others."""
    texts = [str(item) for item in items]
    more = [f"and {len(texts) - most} more"] if len(texts) > most else []
    return separator.join([*texts[:most], *more])
