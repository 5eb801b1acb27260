"""Least-squares fits: a line, a power law, and the time of a level from the rows that were timed.

A level that takes no longer than its budget is timed whole. Of a longer one, at least ``FEWEST`` rows are timed, and a
line through them estimates the others.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

FEWEST = 3  # points of a fit: a line through two of them has no residual, whatever they are
PARTLY = 1 / 20  # of the budget is spent on a level that would take longer than the whole budget
LARGEST_RESIDUAL = 0.10  # a larger one means that the points are not on a line
_NOTE = re.compile(
    r"(\d+) of \d+ rows timed, linear fit with a residual of ([\d.]+)%"
)  # what ``extrapolate_rows`` says


@dataclass(frozen=True)
class Line:
    """y = intercept + slope x by least squares; ``residual`` is the largest |y - fit| / y of the points."""

    intercept: float
    slope: float
    residual: float

    def at(self, x: float) -> float:
        """Returns the line's value at x."""
        return self.intercept + self.slope * x


def fit_line(points: Mapping[int, float]) -> Line:
    """Returns the line through the points x -> y > 0. Raises ValueError if they are fewer than ``FEWEST``."""
    if len(points) < FEWEST:
        raise ValueError(f"a line through {len(points)} points, expected at least {FEWEST}: time more rows")
    x, y = np.array(list(points), float), np.array(list(points.values()), float)
    slope, intercept = np.polyfit(x, y, 1)
    residual = float(np.max(np.abs(intercept + slope * x - y) / y))
    return Line(float(intercept), float(slope), residual)


def fit_exponent(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Returns the exponent e of y ~ x^e by least squares on logarithms, and the largest |y - fit| / y.

    Raises ValueError if there are fewer than ``FEWEST`` points.
    """
    if len(x) < FEWEST:
        raise ValueError(f"a power law through {len(x)} points, expected at least {FEWEST}: measure more sizes")
    log_x, log_y = np.log(np.asarray(x, float)), np.log(np.asarray(y, float))
    exponent, intercept = np.polyfit(log_x, log_y, 1)
    residual = float(np.max(np.abs(np.exp(intercept + exponent * log_x - log_y) - 1)))
    return float(exponent), residual


def enough_rows(rows: int, height: int, seconds: float, budget: float) -> bool:
    """Returns whether no more rows are to be timed, after ``rows`` of ``height`` rows took ``seconds``.

    True if the level is complete, or if it would take longer than ``budget`` seconds and its share of them is spent.
    """
    if rows < min(FEWEST, height):
        return False
    return rows == height or (seconds > PARTLY * budget and seconds / rows * height > budget)


def poor_fit(note: str) -> bool:
    """Returns whether a note of ``extrapolate_rows`` tells of too few rows or of a residual over 10 %."""
    return any(int(rows) < FEWEST or float(percent) > 100 * LARGEST_RESIDUAL for rows, percent in _NOTE.findall(note))


def worst_note(notes: Iterable[str]) -> str:
    """Returns the note with the fewest timed rows, and then the largest residual; "" if nothing was extrapolated."""

    def doubt(note: str) -> tuple[bool, float, float]:
        fits = [(-int(rows), float(percent)) for rows, percent in _NOTE.findall(note)]
        return bool(note), *max(fits, default=(-math.inf, 0.0))

    return max(notes, key=doubt, default="")


def extrapolate_rows(row_seconds: Mapping[int, float], height: int) -> tuple[float, str]:
    """Returns the seconds of rows 0 .. height - 1, and a note on the extrapolation ("" if every row was timed).

    ``row_seconds`` are the timed rows by index. A row's cost grows linearly with its index, because attention and
    re-computation read the rows above. A row that was not timed counts at least as much as the fastest timed row.
    Raises ValueError if some rows were not timed, and fewer than ``FEWEST`` were.
    """
    missing = [i for i in range(height) if i not in row_seconds]
    if not missing:
        return sum(row_seconds[i] for i in range(height)), ""
    line, fastest = fit_line(row_seconds), min(row_seconds.values())
    seconds = sum(row_seconds.values()) + sum(max(line.at(i), fastest) for i in missing)
    first = "the first " if max(row_seconds) < len(row_seconds) else ""  # not spread over the grid
    return (
        seconds,
        f"{first}{len(row_seconds)} of {height} rows timed, linear fit with a residual of {line.residual:.1%}",
    )
